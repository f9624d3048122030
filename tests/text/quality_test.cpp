// lact-bench quality text: loss by position, needles.

#include "models.hpp"
#include "small_model.hpp"
#include "support/launch.hpp"

#include <plugins/text/evaluate/needle.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <set>

using namespace lact;

namespace {

/// A model, and a text of words that its tokenizer knows.
struct Fixture {
  test::TemporaryFolder folder;
  std::filesystem::path model = folder / "model", book = folder / "book.txt";

  Fixture() {
    test::write_model(model);
    io::write_text(book.string(), test::invented_text(3, 20000));
  }
  std::vector<std::string> words(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"lact-bench", "quality", "text",      "--model", model.string(),
                                    "--dtype",    "float32", "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  test::Result quality(const std::vector<std::string>& more) const {
    return test::run(words(more));
  }
};

nlohmann::json rows_of(const test::Result& result) {
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  return nlohmann::json::parse(result.out);
}

std::vector<nlohmann::json> of_test(const nlohmann::json& rows, const std::string& test) {
  std::vector<nlohmann::json> found;
  for (const auto& row : rows)
    if (row.at("test") == test) found.push_back(row);
  return found;
}

}  // namespace

TEST_CASE("losses are those of lact-generate --score, whole and by position") {
  const Fixture f;
  const auto rows = rows_of(f.quality({f.book.string(), "--json"}));
  const auto score = nlohmann::json::parse(
      test::run({"lact-generate", "text", "--model", f.model.string(), "--dtype", "float32",
                 "--threads", "1", "--score", f.book.string(), "--json"})
          .out);
  const auto whole = of_test(rows, "text");
  REQUIRE(whole.size() == 1);
  for (const char* key : {"tokens", "loss", "perplexity", "accuracy", "bits_per_byte"})
    CHECK(whole[0].at(key).get<double>() == Approx(score.at(key).get<double>()));
  const auto parts = of_test(rows, "position");
  REQUIRE(parts.size() == score.at("by_position").size());
  for (size_t i = 0; i < parts.size(); ++i)
    for (const char* key : {"from", "to", "tokens", "loss"})
      CHECK(parts[i].at(key).get<double>() ==
            Approx(score.at("by_position")[i].at(key).get<double>()));
}

TEST_CASE("another chunk size changes what comes after the first update, and nothing before") {
  const Fixture f;  // trained in chunks of 8
  const auto rows =
      rows_of(f.quality({f.book.string(), "--chunk", "8,16", "--bucket", "8", "--json"}));
  const auto parts = of_test(rows, "position");
  const auto half = parts.size() / 2;
  REQUIRE(half > 4);
  CHECK(parts[0].at("chunk_size") == 8);
  CHECK(parts[half].at("chunk_size") == 16);
  CHECK(parts[half].at("loss").get<double>() == Approx(parts[0].at("loss").get<double>()));
  CHECK(parts[half + 2].at("loss").get<double>() != parts[2].at("loss").get<double>());
  const auto plain = of_test(rows_of(f.quality({f.book.string(), "--json"})), "text");
  CHECK(of_test(rows, "text")[0].at("loss") == plain[0].at("loss"));
}

TEST_CASE("a needle is where it was asked for, and says what the question asks") {
  const Fixture f;
  const auto loaded = test::load(f.model);
  const text::Haystack haystack(loaded, f.book, 400);
  const auto& tokenizer = loaded.tokenizer;
  std::set<std::string> answers;
  for (const double depth : {0.0, 0.5, 1.0}) {
    const auto trial = haystack.trial(400, depth, 10, /*seed=*/4);
    CHECK(trial.ids.size() == 400);
    CHECK(std::set(trial.candidates.begin(), trial.candidates.end()).size() == 10);
    const auto answer = tokenizer.piece(trial.candidates[0]).substr(3);  // U+2581 is three bytes
    answers.insert(answer);
    const auto said = tokenizer.decode(trial.ids);
    const std::string phrase = "The secret word of ";
    const auto needle = said.find(phrase), question = said.rfind(phrase);
    REQUIRE(needle != std::string::npos);
    REQUIRE(needle < question);
    const auto asked = said.substr(question);
    CHECK(said.compare(needle, asked.size() + answer.size() + 2, asked + " " + answer + ".") == 0);
    CHECK(asked.ends_with(" is"));
    CHECK(tokenizer.decode(trial.question).ends_with(asked));
    CHECK(std::abs(static_cast<double>(needle) / static_cast<double>(question) - depth) < 0.25);
  }
  CHECK(answers.size() == 1);  // the same needle at every depth
  CHECK(haystack.trial(400, 0, 10, 4).ids != haystack.trial(400, 0, 10, 5).ids);
}

TEST_CASE("needles are scored by what the text adds to the question") {
  const Fixture f;
  const auto loaded = test::load(f.model);
  const text::Haystack haystack(loaded, f.book, 200);
  text::NeedleOptions options;
  options.candidates = 5;
  options.group = 64;
  text::NeedleScore score;
  for (int64_t i = 0; i < 3; ++i) score.add(haystack.retrieve(200, 0.5, i, options));
  // By hand: the log-probability of each candidate behind both, as scoring gives it.
  const auto logprob = [&](std::vector<int32_t> ids, int32_t next) {
    ids.push_back(next);
    text::Session session(loaded, {}, 0);
    return *session.score(ids).back();
  };
  double want = 0, gain = 0;
  int64_t first = 0, ranks = 0;
  for (uint64_t i = 0; i < 3; ++i) {
    const auto trial = haystack.trial(200, 0.5, 5, options.seed + i);
    std::vector<double> gains;
    for (const int32_t id : trial.candidates)
      gains.push_back(logprob(trial.ids, id).logprob - logprob(trial.question, id).logprob);
    want += logprob(trial.ids, trial.candidates[0]).logprob;
    const auto rank = 1 + std::count_if(gains.begin() + 1, gains.end(),
                                        [&](double other) { return other > gains[0]; });
    ranks += rank;
    first += rank == 1;
    gain += gains[0] - (gains[1] + gains[2] + gains[3] + gains[4]) / 4;
  }
  CHECK(score.trials == 3);
  CHECK(score.logprob == Approx(want).epsilon(1e-4));
  CHECK(score.gain == Approx(gain).margin(1e-3));
  CHECK(score.ranks == ranks);
  CHECK(score.first == first);
}

TEST_CASE("every length and depth has a row, the same each time") {
  const Fixture f;
  const std::vector<std::string> words = {"--needle",
                                          f.book.string(),
                                          "--needle-length",
                                          "64,128",
                                          "--needle-depth",
                                          "0-1+0.5",
                                          "--needles",
                                          "2",
                                          "--candidates",
                                          "4",
                                          "-o",
                                          "jsonl"};
  const auto result = f.quality(words);
  INFO(result.err);
  CHECK(result.exit == 0);
  CHECK(std::count(result.out.begin(), result.out.end(), '\n') == 6);
  CHECK(f.quality(words).out == result.out);
  CHECK_THAT(result.out, Catch::Contains(R"("length":128,"depth":0.5)"));
}

TEST_CASE("two and three processes print the numbers of one", "[processes]") {
  const Fixture f;
  // More documents than are scored before all exchange what they have, of many lengths.
  const auto documents = f.folder / "documents";
  std::filesystem::create_directory(documents);
  for (uint64_t i = 0; i < 60; ++i)
    io::write_text(documents / concat(i, ".txt"), test::invented_text(100 + i, 40 + 13 * i % 500));
  const auto data = (f.folder / "data").string();
  REQUIRE(test::run({"lact-tokenize", "text", "encode", "--model",
                     (f.model / "tokenizer.model").string(), "-o", data, documents.string()})
              .exit == 0);
  const auto words = f.words({data + "/train.safetensors", f.book.string(), "--chunk", "8,16",
                              "--needle", f.book.string(), "--needle-length", "64,128",
                              "--needle-depth", "0,1", "--needles", "5", "--json"});
  const auto want = test::Launch(1, words).wait()[0];
  CAPTURE(want.err);
  REQUIRE(want.exit == 0);
  CHECK(of_test(rows_of(want), "text").size() == 4);
  CHECK(of_test(rows_of(want), "needle").size() == 8);
  for (const int world : {2, 3}) {
    const auto results = test::Launch(world, words).wait();
    for (size_t rank = 0; rank < results.size(); ++rank) {
      CAPTURE(world, rank, results[rank].err);
      CHECK(results[rank].exit == 0);
      CHECK(results[rank].err.empty());
      CHECK((results[rank].out == (rank == 0 ? want.out : "")));
    }
  }
  // Rank 1 finds out that the second file is none.
  for (const auto& result : test::Launch(2, f.words({f.book.string(), "/nowhere.txt"})).wait()) {
    CHECK(result.exit == 66);
    CHECK_THAT(result.err, Catch::Contains("/nowhere.txt: "));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(result.out.empty());
  }
  const auto piped = test::Launch(2, f.words({"-"})).wait();
  CHECK(piped[0].exit == 64);
  CHECK(piped[1].exit == 64);
}

TEST_CASE("what cannot be evaluated is refused") {
  const Fixture f;
  const auto book = f.book.string();
  CHECK(f.quality({}).exit == 64);
  CHECK(f.quality({book, "--chunk", "0"}).exit == 64);
  CHECK(f.quality({"--needle", book, "--needle-depth", "1.5"}).exit == 64);
  CHECK(f.quality({"--needle", book, "--needle-length", "8"}).exit == 64);
  CHECK(f.quality({"--needle", book, "--needle-length", "1M"}).exit == 65);
  CHECK(f.quality({"/nowhere.txt"}).exit == 66);
  CHECK(test::run({"lact-bench", "quality"}).exit == 64);
  CHECK(test::run({"lact-bench", "quality", "nothing"}).exit == 69);
  CHECK(test::run({"lact-bench", "text", "quality"}).exit == 64);  // the verb stands first
}
