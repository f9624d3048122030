// lact-bench text: the numbers it is asked for, the tests it names, the forms it prints.

#include "small_model.hpp"
#include "support/process.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

using namespace lact;

namespace {

test::Result bench(std::vector<std::string> more) {
  std::vector<std::string> all = {
      "lact-bench",        "text", "--dtype",          "float32", "--threads",           "1",
      "--hidden-size",     "32",   "--num-attn-heads", "2",       "--num-hidden-layers", "1",
      "--lact-chunk-size", "16",   "--window-size",    "16",      "--vocab-size",        "100"};
  all.insert(all.end(), more.begin(), more.end());
  return test::run(all);
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

}  // namespace

TEST_CASE("every test asked for has a row that counts its tokens") {
  const auto result =
      bench({"-p", "32,40", "-n", "3", "--pg", "20,4", "-d", "0,50", "-r", "2", "-o", "json"});
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  std::vector<std::string> names;
  for (const auto& row : rows) {
    names.push_back(row.at("test").get<std::string>() + "@" +
                    std::to_string(row.at("n_depth").get<int>()));
    const auto tokens = row.at("n_prompt").get<double>() + row.at("n_gen").get<double>();
    REQUIRE(row.at("samples_seconds").size() == 2);
    double mean = 0;
    for (size_t i = 0; i < 2; ++i) {
      const double rate = tokens / row.at("samples_seconds")[i].get<double>();
      CHECK(row.at("samples_ts")[i].get<double>() == Approx(rate).epsilon(1e-3));
      mean += rate / 2;
    }
    CHECK(row.at("avg_ts").get<double>() == Approx(mean).epsilon(1e-3));
    const bool reads = row.at("n_gen") == 0;
    CHECK(row.at("utilisation_percent").is_number() == reads);
    CHECK(row.at("write_strength").get<double>() > 0);
    if (reads) CHECK(row.at("utilisation_percent").get<double>() < 100);
  }
  CHECK(names == std::vector<std::string>{"pp32@0", "pp40@0", "tg3@0", "pp20+tg4@0", "pp32@50",
                                          "pp40@50", "tg3@50", "pp20+tg4@50"});
}

TEST_CASE("a training step counts all its rows, and its optimizer is a part of it") {
  const auto result =
      bench({"-p", "0", "-n", "0", "--n-train", "24,32", "--train-rows", "3", "-r", "2", "--json"});
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].at("test") == "tr3x24");
  for (const auto& row : rows) {
    const double tokens = 3 * row.at("n_train").get<double>();
    for (size_t i = 0; i < 2; ++i) {
      const double seconds = row.at("samples_seconds")[i].get<double>();
      CHECK(row.at("samples_ts")[i].get<double>() == Approx(tokens / seconds).epsilon(1e-3));
      CHECK(row.at("samples_optimizer_seconds")[i].get<double>() > 0);
      CHECK(row.at("samples_optimizer_seconds")[i].get<double>() < seconds);
    }
    const double used = row.at("flops").get<double>() / row.at("avg_seconds").get<double>() * 100 /
                        row.at("ceiling_flops_per_second").get<double>();
    CHECK(row.at("utilisation_percent").get<double>() == Approx(used).epsilon(1e-3));
  }
  CHECK(bench({"--n-train", "1"}).exit == 64);
}

TEST_CASE("each form has what its readers expect") {
  const std::vector<std::string> small = {"-p", "16", "-n", "2", "-d", "8", "-r", "1"};
  const auto run = [&](const std::string& form) {
    auto all = small;
    all.insert(all.end(), {"-o", form, "--no-warmup"});
    const auto result = bench(all);
    CHECK(result.exit == 0);
    return lines(result.out);
  };
  const auto md = run("md");
  REQUIRE(md.size() == 4);
  CHECK_THAT(md[2], Catch::Contains("| pp16 @ d8 |") || Catch::Contains(" pp16 @ d8 |"));
  CHECK_THAT(md[3], Catch::Contains(" tg2 @ d8 |"));
  const auto csv = run("csv");
  REQUIRE(csv.size() == 3);
  CHECK(std::count(csv[0].begin(), csv[0].end(), ',') ==
        std::count(csv[1].begin(), csv[1].end(), ','));
  CHECK_THAT(csv[0], Catch::Contains("avg_ts,stddev_ts"));
  const auto jsonl = run("jsonl");
  REQUIRE(jsonl.size() == 2);
  CHECK(nlohmann::json::parse(jsonl[1]).at("test") == "tg2");
}

TEST_CASE("a trained model is measured under its folder's name; what cannot work is refused") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto path = (folder / "model").string();
  const auto result = test::run({"lact-bench", "text", "--model", path, "-p", "9", "-n", "0", "-r",
                                 "1", "--threads", "1", "--json"});
  REQUIRE(result.exit == 0);
  CHECK(nlohmann::json::parse(result.out).at(0).at("model") == "model");
  CHECK(bench({"--model", path}).exit == 64);  // two configurations
  CHECK(bench({"-p", "0", "-n", "0"}).exit == 64);
  CHECK(bench({"-p", "x"}).exit == 64);
  CHECK(bench({"--pg", "5"}).exit == 64);
  CHECK(bench({"--num-attn-heads", "5"}).exit == 78);
}
