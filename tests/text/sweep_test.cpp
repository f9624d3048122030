// lact-bench sweep text: experiments, members that are ordinary runs, curves.

#include "models.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <plugins/text/bench/experiments.hpp>
#include <plugins/text/model/model.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>

using namespace lact;

namespace {

struct Fixture {
  test::TemporaryFolder folder;
  std::filesystem::path data = folder / "data", out = folder / "out";

  Fixture() {
    io::write_text((folder / "t.model").string(), test::train_model());
    io::write_text((folder / "a.txt").string(), test::invented_text(1, 8000));
    io::write_text((folder / "b.txt").string(), test::invented_text(2, 1500));
    const auto packed =
        test::run({"lact-tokenize", "text", "encode", "--model", (folder / "t.model").string(),
                   "--validation-files", "b.txt", "-o", data.string(), (folder / "a.txt").string(),
                   (folder / "b.txt").string()});
    REQUIRE(packed.exit == 0);
  }

  test::Result sweep(const std::string& experiment, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"lact-bench",  "sweep", "text",       experiment, "--data",
                                    data.string(), "--out", out.string(), "--dtype",  "float32",
                                    "--threads",   "1",     "--seed",     "3"};
    for (const char* set : {"steps=3", "batch-size=1", "seq_len=32", "hidden_size=32",
                            "num-attn-heads=2", "num-hidden-layers=1", "lact-chunk-size=8",
                            "window-size=8", "w0-w2-low-rank=4", "intermediate-size=32"})
      all.insert(all.end(), {"--set", set});
    all.insert(all.end(), more.begin(), more.end());
    return test::run(all);
  }
  nlohmann::json curves(const std::string& experiment) const {
    return nlohmann::json::parse(io::read_text((out / (experiment + ".json")).string()));
  }
  std::filesystem::file_time_type written(const std::string& name) const {
    return std::filesystem::last_write_time(out / name);
  }
};

}  // namespace

TEST_CASE("states of an experiment are as large as they are called") {
  const auto base = text::Config::preset("60m");
  const auto experiment = text::sweep_experiment("state", base);
  REQUIRE(experiment.members.size() == 10);  // five sizes, each with its control
  for (const auto& member : experiment.members) {
    if (member.name.starts_with("none")) continue;
    auto values = base.to_json();
    for (const auto& [key, value] : member.overrides) values[key] = nlohmann::json::parse(value);
    const auto config = text::Config::from_json(values, "test");
    const auto numbers = 3 * config.num_lact_heads * config.fast_width() * config.fast_hidden();
    const double squares =
        static_cast<double>(numbers) / static_cast<double>(config.hidden_size * config.hidden_size);
    // Hidden widths are whole numbers.
    CHECK(squares == Approx(std::stod(member.name.substr(6))).epsilon(0.02));
  }
}

TEST_CASE("every member of every experiment is a model that can be") {
  for (const char* preset : {"tiny", "60m", "760m", "3b"}) {
    const auto base = text::Config::preset(preset);
    for (const auto& name : text::sweep_names()) {
      std::set<std::string> models;
      const auto experiment = text::sweep_experiment(name, base);
      for (const auto& member : experiment.members) {
        auto values = base.to_json();
        for (const auto& [key, text] : member.overrides) {
          const auto value = nlohmann::json::parse(text, nullptr, /*exceptions=*/false);
          values[key] = value.is_discarded() ? nlohmann::json(text) : value;
        }
        CAPTURE(preset, member.name);
        const auto config = text::Config::from_json(values, "test");
        CHECK_NOTHROW(config.check("test"));
        models.insert(config.to_json().dump());
      }
      CHECK(models.size() == experiment.members.size());
    }
  }
}

TEST_CASE("an experiment changes what it compares and nothing else") {
  const auto base = text::Config::preset("tiny");
  const auto rules = text::sweep_experiment("rule", base);
  std::set<std::string> names;
  for (const auto& member : rules.members) names.insert(member.name);
  CHECK(names == std::set<std::string>{"gd", "momentum", "muon", "muon_momentum", "none"});
  const auto chunk = text::sweep_experiment("chunk-at-evaluation", base);
  CHECK(chunk.members.size() == 1);
  CHECK(chunk.chunks == std::vector<int64_t>{64, 128, 256, 512, 1024});
  CHECK_THROWS_AS(text::sweep_experiment("nothing", base), Error);
}

TEST_CASE("members are ordinary runs; who asks again gets the same curves without training again") {
  const Fixture f;
  const auto first = f.sweep("learn");
  REQUIRE(first.exit == 0);
  const auto rows = f.curves("learn");
  std::set<std::string> members;
  for (const auto& row : rows) members.insert(row.at("member").get<std::string>());
  CHECK(members == std::set<std::string>{"all", "last", "none", "window"});

  // The same as lact-bench quality finds, in the run directory alone.
  for (const std::string member : {"all", "window"}) {
    const auto quality = nlohmann::json::parse(
        test::run({"lact-bench", "quality", "text", "--model", (f.out / member).string(), "--dtype",
                   "float32", "--threads", "1", (f.data / "validation.safetensors").string(),
                   "--json"})
            .out);
    size_t i = 0;
    for (const auto& row : rows) {
      if (row.at("member") != member) continue;
      REQUIRE(i < quality.size());
      CHECK(row.at("test") == quality[i].at("test"));
      CHECK(row.at("from") == quality[i].at("from"));
      CHECK(row.at("loss") == quality[i++].at("loss"));
    }
    CHECK(i == quality.size());
  }
  CHECK(rows[0].at("parameters") != rows.back().at("parameters"));  // other models

  const auto trained = f.written("all/checkpoints/step-3"),
             measured = f.written("window/quality.json");
  const auto second = f.sweep("learn");
  CHECK(second.exit == 0);
  CHECK(second.out == first.out);
  CHECK(f.curves("learn") == rows);
  CHECK(f.written("all/checkpoints/step-3") == trained);
  CHECK(f.written("window/quality.json") == measured);

  // Trained further, it is measured again.
  CHECK(test::run({"lact-train", "text", "--resume", "-o", (f.out / "all").string(), "--steps", "4",
                   "--threads", "1"})
            .exit == 0);
  CHECK(f.sweep("learn", {"--set", "steps=4"}).exit == 0);
  CHECK(f.curves("learn") != rows);

  const auto svg = test::run({"lact-bench", "plot", (f.out / "learn.json").string()}).out;
  for (const char* text : {">position (tokens)<", ">loss (nats per token)<", ">all<", ">window<"})
    CHECK_THAT(svg, Catch::Contains(text));
}

TEST_CASE("chunks are those of the evaluation: one model, a curve for each") {
  const Fixture f;
  REQUIRE(f.sweep("chunk-at-evaluation").exit == 0);
  std::set<std::pair<std::string, int64_t>> seen;
  for (const auto& row : f.curves("chunk-at-evaluation"))
    seen.emplace(row.at("member").get<std::string>(), row.at("chunk_size").get<int64_t>());
  CHECK(seen.size() == 5);
  CHECK(seen.begin()->first == "chunk-8");
}

TEST_CASE("a batch that memory cannot hold is one line and 71") {
  const Fixture f;
  // LibTorch throws there; it aborts where SentencePiece has written over its flags.
  const auto result = test::run({"sh",
                                 "-c",
                                 "ulimit -v 8000000; exec \"$0\" \"$@\"",
                                 (test::build_root() / "tools/lact-train").string(),
                                 "text",
                                 "--data",
                                 f.data.string(),
                                 "-o",
                                 (f.folder / "run").string(),
                                 "--preset",
                                 "tiny",
                                 "--seq-len",
                                 "32",
                                 "--batch-size",
                                 "400000",
                                 "--steps",
                                 "1",
                                 "--threads",
                                 "1",
                                 "-q"});
  CHECK(result.exit == 71);
  CHECK_THAT(result.err, Catch::Contains("allocate") || Catch::Contains("memory"));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}

TEST_CASE("a sweep that cannot be is refused") {
  const Fixture f;
  CHECK(f.sweep("nothing").exit == 64);
  CHECK(f.sweep("rule", {"--members", "adam"}).exit == 64);
  CHECK(f.sweep("rule", {"--set", "steps"}).exit == 64);
  CHECK(f.sweep("rule", {"--set", "nonsense=1"}).exit == 64);
  CHECK(f.sweep("rule", {"--set", "output=elsewhere"}).exit == 64);
  CHECK(f.sweep("rule", {"--set", "num-attn-heads=5"}).exit == 78);
  CHECK(f.sweep("rule", {"--data", "/nowhere"}).exit == 66);
}

TEST_CASE(
    "the recall sweep makes its documents, trains on them, and knows what was beyond the window") {
  const test::TemporaryFolder folder;
  const auto out = folder / "sweep";
  const auto sweep = [&] {
    return test::run({"lact-bench", "sweep",     "text",          "recall",  "--out",
                      out.string(), "--members", "none,last",     "--seeds", "2",
                      "--seed",     "1",         "--threads",     "1",       "--set",
                      "steps=220",  "--set",     "batch-size=16", "--set",   "lact-chunk-size=8"});
  };
  const auto result = sweep();
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(io::read_text((out / "recall.json").string()));
  std::map<std::string, double> accuracy;
  std::set<int64_t> facts;
  for (const auto& row : rows) {
    if (row.at("test") != "text") continue;
    facts.insert(row.at("facts").get<int64_t>());
    CHECK((row.at("seed") == 1 || row.at("seed") == 2));
    accuracy[row.at("member")] += row.at("accuracy").get<double>() / 8;  // 4 numbers, 2 seeds
  }
  CHECK(facts == std::set<int64_t>{4, 8, 16, 32});
  CHECK(accuracy.at("none") < 0.25);  // chance is 1 in 8
  CHECK(accuracy.at("last") > accuracy.at("none") + 0.1);
  CHECK(sweep().out == result.out);
  // On the same documents other experiments train the same small model.
  const auto state = test::run({"lact-bench", "sweep", "text", "state", "--out",
                                (folder / "state").string(), "--data", (out / "data").string(),
                                "--members", "state-1,state-2", "--set", "steps=2", "--json"});
  INFO(state.err);
  REQUIRE(state.exit == 0);
  const auto sizes = nlohmann::json::parse(state.out);
  REQUIRE(sizes.size() == 2 * 4);
  CHECK(sizes[3].at("facts") == 32);
  CHECK(sizes[4].at("parameters").get<int64_t>() - sizes[0].at("parameters").get<int64_t>() ==
        3 * 64 * 21);  // a square more of fast weights, as near as whole numbers come
  CHECK(sizes[0].at("parameters").get<int64_t>() < 100000);
}
