// lact-bench text: the numbers it is asked for, the tests it names, the forms it prints.

#include "small_model.hpp"
#include "support/process.hpp"

#include "../../plugins/text/bench_report.hpp"

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

using namespace lact;

namespace {

std::vector<int64_t> numbers(const std::string& text) {
  return text::parse_numbers(text, "-p");
}

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

TEST_CASE("numbers are lists, steps and factors, as llama-bench takes them") {
  using V = std::vector<int64_t>;
  CHECK(numbers("512") == V{512});
  CHECK(numbers("512,1024") == V{512, 1024});
  CHECK(numbers("0-1024+256") == V{0, 256, 512, 768, 1024});
  CHECK(numbers("128-1024*2") == V{128, 256, 512, 1024});
  CHECK(numbers("3-5") == V{3, 4, 5});
  CHECK(numbers("1,10-30+10,7") == V{1, 10, 20, 30, 7});
  for (const char* bad : {"", "a", "1,", "-5", "1-", "5-1", "0-9*2", "1-9*1", "1-9+0", "1-9x2",
                          "0-99999999", "1.5", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(numbers(bad), Error);
  }
}

TEST_CASE("mean and standard deviation are those of the sample") {
  const auto s = text::spread({2, 4, 4, 4, 5, 5, 7, 9});
  CHECK(s.mean == Approx(5));
  CHECK(s.deviation == Approx(2.1380899));  // sqrt(32 / 7)
  CHECK(text::spread({3}).deviation == 0);
}

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
    REQUIRE(row.at("samples_ns").size() == 2);
    double mean = 0;
    for (size_t i = 0; i < 2; ++i) {
      const double rate = tokens / row.at("samples_ns")[i].get<double>() * 1e9;
      CHECK(row.at("samples_ts")[i].get<double>() == Approx(rate).epsilon(1e-3));
      mean += rate / 2;
    }
    CHECK(row.at("avg_ts").get<double>() == Approx(mean).epsilon(1e-3));
    const bool reads = row.at("n_gen") == 0;
    CHECK(row.at("utilisation_percent").is_number() == reads);
    if (reads) CHECK(row.at("utilisation_percent").get<double>() < 100);
  }
  CHECK(names == std::vector<std::string>{"pp32@0", "pp40@0", "tg3@0", "pp20+tg4@0", "pp32@50",
                                          "pp40@50", "tg3@50", "pp20+tg4@50"});
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
