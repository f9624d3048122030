// lact-generate text --score from outside, against the model's own forward pass.

#include "models.hpp"
#include "small_model.hpp"
#include "support/process.hpp"

#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

using namespace lact;

namespace {

/// float32 sums in another order than the forward pass of float64 does.
constexpr double kMargin = 1e-4;

struct Place {
  test::TemporaryFolder folder;
  text::LoadedModel loaded;
  Place() : loaded((test::write_model(folder / "model"), test::load(folder / "model"))) {}
  std::string path(const std::string& name) const { return (folder / name).string(); }
};

const Place& place() {
  static const Place one;
  return one;
}

test::Result score(std::vector<std::string> more, const std::string& input = {}) {
  std::vector<std::string> all = {"lact-generate",       "text",    "--model",
                                  place().path("model"), "--dtype", "float32",
                                  "--threads",           "1",       "--score"};
  all.insert(all.end(), more.begin(), more.end());
  return test::run(all, input);
}

nlohmann::json score_json(std::vector<std::string> more, const std::string& input = {}) {
  more.push_back("--json");
  const auto result = score(more, input);
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  return nlohmann::json::parse(result.out);
}

/// Log-probabilities of ids[1], ids[2], ... by one forward pass.
std::vector<double> forward(const std::vector<int32_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto all = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  const auto logits = place().loaded.model.forward(all.unsqueeze(0))[0].to(at::kDouble);
  const auto rows = at::log_softmax(logits, -1);
  std::vector<double> result;
  for (size_t i = 1; i < ids.size(); ++i)
    result.push_back(rows[static_cast<int64_t>(i) - 1][ids[i]].item<double>());
  return result;
}

std::vector<int32_t> with_bos(const std::string& text) {
  std::vector<int32_t> ids = {*place().loaded.bos()};
  const auto more = place().loaded.tokenizer.encode(text);
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

TEST_CASE("the loss of a text is the mean of its tokens' negative log-probabilities") {
  const auto text = test::invented_text(6, 2000) + "a, \"quoted\" line\n";
  const auto ids = with_bos(text);
  const auto want = forward(ids);
  io::write_text(place().folder / "text.txt", text);
  const auto json = score_json({place().path("text.txt")});
  const auto count = static_cast<double>(want.size());
  CHECK(json.at("tokens") == want.size());
  CHECK(json.at("loss").get<double>() == Approx(-sum(want) / count).margin(kMargin));
  CHECK(json.at("perplexity").get<double>() == Approx(std::exp(-sum(want) / count)).epsilon(1e-3));
  CHECK(json.at("bits_per_byte").get<double>() ==
        Approx(-sum(want) / std::log(2) / static_cast<double>(text.size())).margin(kMargin));

  // By position: 1, 2-3, 4-7, ...; ids[i] stands at position i.
  for (const auto& row : json.at("by_position")) {
    const auto from = row.at("from").get<size_t>(), to = row.at("to").get<size_t>();
    CHECK(to + 1 == 2 * from);
    double total = 0;
    size_t tokens = 0;
    for (size_t i = from; i <= to && i < ids.size(); ++i, ++tokens) total -= want[i - 1];
    CHECK(row.at("tokens") == tokens);
    CHECK(row.at("loss").get<double>() ==
          Approx(total / static_cast<double>(tokens)).margin(kMargin));
  }
  const auto wide = score_json({"-", "--bucket", "100"}, text);
  CHECK(wide.at("by_position")[1].at("from") == 100);
  CHECK(wide.at("by_position")[1].at("to") == 199);
  CHECK(wide.at("loss") == json.at("loss"));
}

TEST_CASE("the table of tokens has a line for each, with what forward() says") {
  const std::string text = "karo, \"the\"\nan";
  const auto ids = with_bos(text);
  const auto want = forward(ids);
  const auto result = score({"-", "--per-token"}, text);
  CHECK(result.exit == 0);
  std::istringstream lines(result.out);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "position,id,piece,logprob");
  for (size_t i = 1; i < ids.size(); ++i) {
    REQUIRE(std::getline(lines, line));
    CAPTURE(line);
    CHECK(line.rfind(concat(i, ",", ids[i], ","), 0) == 0);
    CHECK(std::stod(line.substr(line.rfind(',') + 1)) == Approx(want[i - 1]).margin(kMargin));
  }
  CHECK(!std::getline(lines, line));
  const auto table = score({"-", "--by-position"}, text);
  CHECK_THAT(table.out, Catch::StartsWith("from,to,tokens,loss\n1,1,1,"));
}

TEST_CASE("lm-eval chooses as the log-probabilities of lact-generate say") {
  const auto python = test::peers("lm_eval");
  if (!python) return;
  const test::TemporaryFolder folder;
  const std::vector<std::string> contexts = {"ba", "karo ke", "the ro"},
                                 choices = {" ke", " ro", "mi su"};
  std::string pairs, right, wrong;
  for (const auto& context : contexts)
    for (const auto& choice : choices)
      pairs += nlohmann::json{{"context", context}, {"continuation", choice}}.dump() + "\n";
  std::istringstream answers(score({"-", "--pairs"}, pairs).out);
  for (const auto& context : contexts) {
    std::vector<double> likely;
    for (size_t i = 0; i < choices.size(); ++i) {
      std::string line;
      std::getline(answers, line);
      likely.push_back(nlohmann::json::parse(line).at("logprob"));
    }
    const auto best = std::max_element(likely.begin(), likely.end()) - likely.begin();
    const auto worst = std::min_element(likely.begin(), likely.end()) - likely.begin();
    for (const auto& [lines, answer] : {std::pair{&right, best}, std::pair{&wrong, worst}})
      *lines +=
          nlohmann::json{{"context", context}, {"choices", choices}, {"answer", answer}}.dump() +
          "\n";
  }
  const auto task = [&](const std::string& name, const std::string& lines) {
    io::write_text(folder / (name + ".jsonl"), lines);
    io::write_text(
        folder / (name + ".yaml"),
        concat("task: ", name, "\ndataset_path: json\ndataset_kwargs:\n  data_files: {validation: ",
               (folder / (name + ".jsonl")).string(),
               "}\nvalidation_split: validation\noutput_type: multiple_choice\n"
               "doc_to_text: '{{context}}'\ndoc_to_choice: '{{choices}}'\n"
               "doc_to_target: '{{answer}}'\nmetric_list: [{metric: acc}]\n"));
  };
  task("likely", right);
  task("unlikely", wrong);
  const auto result =
      test::run({"env", "HF_DATASETS_OFFLINE=1", "HF_HUB_OFFLINE=1",
                 concat("HF_HOME=", (folder / "cache").string()), *python,
                 (test::source_root() / "examples/lm-eval/lact_lm.py").string(), "--model", "lact",
                 "--model_args",
                 concat("pretrained=", place().path("model"),
                        ",program=", (test::build_root() / "tools/lact-generate").string(),
                        ",options=--dtype float32 --threads 1"),
                 "--include_path", folder.path().string(), "--tasks", "likely,unlikely"});
  INFO(result.out << result.err);
  REQUIRE(result.exit == 0);
  const auto accuracy = [&](const std::string& name) {
    const auto line = result.out.substr(result.out.find("|" + name));
    return line.substr(0, line.find('\n'));
  };
  CHECK_THAT(accuracy("likely"), Catch::Contains("|    1|"));
  CHECK_THAT(accuracy("unlikely"), Catch::Contains("|    0|"));
}

TEST_CASE("pairs get the log-probability of the continuation and whether greedy would write it") {
  const auto& loaded = place().loaded;
  // The likeliest continuation of a context, token by token, that is also what encoding gives.
  std::string lines, context = "karo the";
  lines += R"({"context": "karo the", "continuation": " an ing"})"
           "\n";
  lines += R"({"context": "karo the ", "continuation": "an ing"})"
           "\n\n";
  lines += R"({"context": "", "continuation": "an"})"
           "\n";
  const auto result = score({"-", "--pairs"}, lines);
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  std::vector<nlohmann::json> out;
  std::istringstream stream(result.out);
  for (std::string line; std::getline(stream, line);) out.push_back(nlohmann::json::parse(line));
  REQUIRE(out.size() == 3);
  const auto whole = forward(with_bos("karo the an ing"));
  const auto skipped = loaded.tokenizer.encode("karo the").size();
  const double want = sum({whole.begin() + static_cast<ptrdiff_t>(skipped), whole.end()});
  for (size_t i = 0; i < 2; ++i) {  // the space belongs to the word after it
    CHECK(out[i].at("tokens") == whole.size() - skipped);
    CHECK(out[i].at("logprob").get<double>() == Approx(want).margin(kMargin));
  }
  CHECK(out[2].at("logprob").get<double>() == Approx(sum(forward(with_bos("an")))).margin(kMargin));
}

TEST_CASE("a continuation is greedy if and only if each of its tokens was the likeliest") {
  const auto& loaded = place().loaded;
  text::SamplerOptions greedy;
  greedy.temp = 0;
  // Contexts until one is found whose greedy next token encodes back to itself.
  std::string line;
  for (uint64_t seed = 1; line.empty() && seed < 200; ++seed) {
    auto context = test::invented_text(seed, 20);
    context.resize(context.find_last_not_of(" \n") + 1);
    text::Session session(loaded, greedy, 1);
    session.read(with_bos(context));
    const auto next = session.say(session.choose());
    auto ids = loaded.tokenizer.encode(context);
    ids.push_back(session.choose());
    if (next.empty() || loaded.tokenizer.encode(context + next) != ids) continue;
    line = nlohmann::json{{"context", context}, {"continuation", next}}.dump();
    const auto other = nlohmann::json{{"context", context}, {"continuation", " ka"}}.dump();
    if (next != " ka") line += "\n" + other;
  }
  REQUIRE(!line.empty());
  const auto result = score({"-", "--pairs"}, line);
  REQUIRE(result.exit == 0);
  CHECK(result.out.find("\"is_greedy\":true") < result.out.find("\"is_greedy\":false"));
  CHECK(result.out.find("\"is_greedy\":false") != std::string::npos);
}

TEST_CASE("a pair that is none is refused with its file and line") {
  const std::string good = R"({"context": "a", "continuation": "b"})"
                           "\n";
  for (const char* bad :
       {"{", "[]", R"({"context": "a"})", R"({"context": 1, "continuation": "b"})",
        R"({"context": "a", "context": "c", "continuation": "b"})"}) {
    CAPTURE(bad);
    io::write_text(place().folder / "pairs.jsonl", good + bad + "\n");
    const auto result = score({place().path("pairs.jsonl")});
    CHECK(result.exit == 65);
    CHECK_THAT(result.err, Catch::Contains("pairs.jsonl:2"));
  }
}

TEST_CASE("a continuation that joins the context's last token is scored all the same") {
  // Joined, "ab a" + "b" has no more tokens than "ab a" alone.
  const auto& tokenizer = place().loaded.tokenizer;
  std::string context, rest;
  for (int id = 0; id < tokenizer.vocab_size() && rest.empty(); ++id) {
    const auto text = tokenizer.decode({id});
    for (size_t cut = 1; cut < text.size() && rest.empty(); ++cut)
      if (tokenizer.encode(text.substr(0, cut)).size() == tokenizer.encode(text).size()) {
        context = text.substr(0, cut);
        rest = text.substr(cut);
      }
  }
  REQUIRE_FALSE(rest.empty());
  const auto line = nlohmann::json{{"context", context}, {"continuation", rest}}.dump() + "\n";
  const auto json = nlohmann::json::parse(score({"-", "--pairs"}, line).out);
  CHECK(json.at("tokens") >= 1);
  CHECK(json.at("logprob") < 0);
  const auto empty = score({"-", "--pairs"}, R"({"context": "ba", "continuation": ""})");
  CHECK(empty.exit == 65);
  CHECK_THAT(empty.err, Catch::Contains("stdin:1: \"continuation\" is empty"));
}

TEST_CASE("JSON lines of texts are scored text by text, like files of their own") {
  io::write_text(place().folder / "texts.jsonl", R"({"text": "ba ke li mo"}
{"text": "nu ra ba"}
)");
  io::write_text(place().folder / "1.txt", "ba ke li mo");
  io::write_text(place().folder / "2.txt", "nu ra ba");
  const auto json = score_json({place().path("texts.jsonl")});
  const auto apart = score_json({place().path("1.txt"), place().path("2.txt")});
  CHECK(json.at("tokens") == apart.at("total").at("tokens"));
  CHECK(json.at("loss").get<double>() == Approx(apart.at("total").at("loss").get<double>()));
  CHECK(json.at("bits_per_byte").get<double>() ==
        Approx(apart.at("total").at("bits_per_byte").get<double>()));
  REQUIRE(json.at("documents").size() == 2);
  const auto other = score({place().path("texts.jsonl"), "--text-key", "body"});
  CHECK(other.exit == 65);
}

TEST_CASE("packed data is scored document by document, each from the beginning") {
  const auto& loaded = place().loaded;
  const auto file = place().folder / "data.safetensors";
  std::vector<std::vector<int32_t>> documents;
  text::TokenWriter writer(file, loaded.tokenizer.vocab_size(), loaded.tokenizer.hash(),
                           "validation");
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    documents.push_back(with_bos(test::invented_text(seed, 100 * seed)));
    writer.begin_document();
    writer.append(documents.back());
  }
  writer.seal();
  writer.commit();
  const auto json = score_json({file.string()});
  REQUIRE(json.at("documents").size() == 3);
  double total = 0;
  size_t tokens = 0;
  for (size_t d = 0; d < 3; ++d) {
    const auto want = forward(documents[d]);
    const auto& row = json.at("documents")[d];
    CHECK(row.at("tokens") == want.size());
    CHECK(row.at("loss").get<double>() ==
          Approx(-sum(want) / static_cast<double>(want.size())).margin(kMargin));
    total -= sum(want);
    tokens += want.size();
  }
  CHECK(json.at("loss").get<double>() ==
        Approx(total / static_cast<double>(tokens)).margin(kMargin));

  const auto other = place().folder / "other.safetensors";
  text::TokenWriter foreign(other, loaded.tokenizer.vocab_size(), "0123456789abcdef", "train");
  foreign.begin_document();
  foreign.append(documents[0]);
  foreign.seal();
  foreign.commit();
  const auto result = score({other.string()});
  CHECK(result.exit == 65);
  CHECK_THAT(result.err, Catch::Contains("0123456789ab"));
}

TEST_CASE("many files are a table with a line for each and their sum") {
  const auto& folder = place().folder;
  std::vector<std::string> names;
  double logprob = 0;
  int64_t tokens = 0;
  uint64_t bytes = 0;
  std::vector<double> losses;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const auto text = test::invented_text(seed, 200 * seed);
    names.push_back(place().path(concat("part", seed, ".txt")));
    io::write_text(folder / concat("part", seed, ".txt"), text);
    const auto want = forward(with_bos(text));
    losses.push_back(-sum(want) / static_cast<double>(want.size()));
    logprob += sum(want);
    tokens += static_cast<int64_t>(want.size());
    bytes += text.size();
  }
  // As a shell writes them: --score part*.txt; and one by one.
  const auto json = score_json(names);
  CHECK(score_json({names[0], "--score", names[1], "--score", names[2]}) == json);
  REQUIRE(json.at("files").size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(json.at("files")[i] == score_json({names[i]}));
    CHECK(json.at("files")[i].at("loss").get<double>() == Approx(losses[i]).margin(kMargin));
  }
  const auto& total = json.at("total");
  CHECK(total.at("tokens") == tokens);
  CHECK(total.at("loss").get<double>() ==
        Approx(-logprob / static_cast<double>(tokens)).margin(kMargin));
  CHECK(total.at("bits_per_byte").get<double>() ==
        Approx(-logprob / std::log(2) / static_cast<double>(bytes)).margin(kMargin));
  int64_t by_position = 0;
  for (const auto& row : total.at("by_position")) by_position += row.at("tokens").get<int64_t>();
  CHECK(by_position == tokens);

  const auto table = score(names);
  CHECK(table.err == "");
  std::istringstream lines(table.out);
  std::vector<std::string> ends;
  for (std::string line; std::getline(lines, line);)
    ends.push_back(line.substr(line.find_last_of(' ') + 1));
  CHECK(ends == std::vector<std::string>{"file", names[0], names[1], names[2], "total"});

  auto columns = names;
  columns.push_back("--per-token");
  const auto every = score(columns).out;
  CHECK_THAT(every, Catch::StartsWith("file,position,id,piece,logprob\n" + names[0] + ",1,"));
  CHECK(std::count(every.begin(), every.end(), '\n') == 1 + tokens);
}

TEST_CASE("a broken file among many has one line on stderr, and the others are scored") {
  io::write_text(place().folder / "fine.txt", "karo the an");
  io::write_text(place().folder / "empty.txt", "");
  io::write_text(place().folder / "broken.safetensors", "no");
  const auto fine = place().path("fine.txt");
  const std::vector<std::string> names{fine, place().path("missing.txt"),
                                       place().path("broken.safetensors"), fine};
  const auto result = score(names);
  CHECK(result.exit == 66);  // the first fault's
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 3);
  CHECK_THAT(result.err, Catch::Contains("missing.txt: ") &&
                             Catch::Contains("broken.safetensors: ") &&
                             Catch::Contains("error: 2 of 4 files failed\n"));
  CHECK(std::count(result.out.begin(), result.out.end(), '\n') == 6);
  auto words = names;
  words.push_back("--json");
  const auto json = nlohmann::json::parse(score(words).out);
  CHECK(json.at("files")[1].at("error").is_string());
  CHECK(json.at("files")[3].at("loss") == json.at("files")[0].at("loss"));
  CHECK(json.at("total").at("tokens") == 2 * json.at("files")[0].at("tokens").get<int64_t>());
  // Nothing but broken ones: no sum is invented.
  const auto none = score({place().path("missing.txt"), place().path("missing.txt"), "--json"});
  CHECK(none.exit == 66);
  CHECK(nlohmann::json::parse(none.out).at("total") == nlohmann::json{{"tokens", 0}});
}

TEST_CASE("files of kinds that do not go together are refused before any is read") {
  io::write_text(place().folder / "one.txt", "karo");
  const auto text = place().path("one.txt");
  io::write_text(place().folder / "pairs.jsonl", R"({"context": "ba", "continuation": "ke"})");
  const auto pairs = place().path("pairs.jsonl");
  CHECK(score({text, pairs}).exit == 64);
  CHECK(score({pairs, "other.jsonl", "--per-token"}).exit == 64);
  // What cannot be looked at is no other kind: it has its own line.
  const auto missing = score({text, "missing.jsonl"});
  CHECK(missing.exit == 66);
  CHECK_THAT(missing.err, Catch::Contains("missing.jsonl: "));
  CHECK(score({text, "data.safetensors", "--per-token"}).exit == 64);
  const auto stray =
      test::run({"lact-generate", "text", "--model", place().path("model"), "x.txt"});
  CHECK(stray.exit == 64);
  CHECK_THAT(stray.err, Catch::Contains("unexpected argument 'x.txt'"));
}
