// lact-tokenize text recall: documents of facts and questions.

#include "recall.hpp"

#include <plugins/common/packed/shards.hpp>
#include <plugins/common/spm/model_file.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/cli/bench.hpp>
#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <optional>

namespace lact::text {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kControls = 3;  // <unk>, <s>, </s>
constexpr int64_t kFillers = 16;  // different words that say nothing
constexpr uint64_t kTrainingPurpose = 1, kValidationPurpose = 2;

std::string numbered(const char* letter, int64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "%s%02lld", letter, static_cast<long long>(number));
  return text;
}

std::vector<int64_t> shuffled(Random& random, int64_t all) {
  std::vector<int64_t> order(static_cast<size_t>(all));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = all - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.below(i + 1))]);
  return order;
}

}  // namespace

RecallTask::RecallTask(const RecallOptions& options) : options_(options) {
  if (options_.facts.empty()) throw Error(Exit::usage, "--facts: expected a number");
  const auto [least, most] = std::minmax_element(options_.facts.begin(), options_.facts.end());
  if (*least < 1 || *most > options_.keys)
    throw Error(Exit::usage, "--facts ", *least < 1 ? *least : *most, ": expected 1 to --keys ",
                options_.keys);
  facts_length_ = *most * (options_.kind == "facts" ? 1 : 2) + options_.filler;
  for (int64_t i = 0; i < kFillers; ++i) words_.push_back(numbered("x", i));
  for (int64_t key = 0; key < options_.keys; ++key) {
    words_.push_back(question(key));
    for (int64_t middle = 0; middle < (options_.kind == "two-hop" ? options_.keys : 1); ++middle)
      for (int64_t value = 0; value < options_.values; ++value)
        for (const auto& word : facts_of(key, middle, value)) words_.push_back(word);
  }
  for (int64_t value = 0; value < options_.values; ++value) words_.push_back(std::to_string(value));
  std::sort(words_.begin(), words_.end());
  words_.erase(std::unique(words_.begin(), words_.end()), words_.end());
}

std::vector<std::string> RecallTask::facts_of(int64_t key, int64_t middle, int64_t value) const {
  const auto is = concat("=", value);
  if (options_.kind == "facts") return {numbered("k", key) + is};
  if (options_.kind == "two-hop")
    return {concat(numbered("k", key), ">", numbered("m", middle)), numbered("m", middle) + is};
  return {numbered("k", key), std::to_string(value)};
}

std::string RecallTask::question(int64_t key) const {
  return numbered("k", key) + (options_.kind == "many-query" ? "" : "?");
}

int32_t RecallTask::id(const std::string& word) const {
  const auto found = std::lower_bound(words_.begin(), words_.end(), word);
  return kControls + static_cast<int32_t>(found - words_.begin());
}

RecallDocument RecallTask::document(Random& random, int64_t facts) const {
  const auto keys = shuffled(random, options_.keys), middles = shuffled(random, options_.keys);
  std::vector<int64_t> values;
  std::vector<std::vector<std::string>> parts;
  for (int64_t i = 0; i < facts; ++i) {
    values.push_back(random.below(options_.values));
    const auto at = static_cast<size_t>(i);
    const auto fact = facts_of(keys[at], middles[at], values[at]);
    if (options_.kind == "two-hop")
      parts.insert(parts.end(), {{fact[0]}, {fact[1]}});
    else
      parts.push_back(fact);
  }
  std::vector<std::string> words;
  for (const int64_t part : shuffled(random, static_cast<int64_t>(parts.size())))
    for (const auto& word : parts[static_cast<size_t>(part)]) words.push_back(word);
  while (static_cast<int64_t>(words.size()) < facts_length_)
    words.push_back(numbered("x", random.below(kFillers)));
  RecallDocument document;
  document.scored.assign(static_cast<size_t>(length()), 0);
  const auto asked = shuffled(random, facts);
  for (int64_t i = 0; i < options_.questions; ++i) {
    const auto which = static_cast<size_t>(asked[static_cast<size_t>(i % facts)]);
    words.push_back(question(keys[which]));
    document.scored[words.size()] = i < facts;
    words.push_back(std::to_string(values[which]));
  }
  for (const auto& word : words) {
    document.ids.push_back(id(word));
    document.bytes += word.size() + (document.bytes > 0 ? 1 : 0);
  }
  return document;
}

int64_t RecallTask::vocab_size() const {
  return kControls + static_cast<int64_t>(words_.size());
}

std::string RecallTask::tokenizer() const {
  spm::ModelFile model;
  model.type = spm::ModelType::word;
  model.pieces = {{"<unk>", 0, spm::PieceType::unknown},
                  {"<s>", 0, spm::PieceType::control},
                  {"</s>", 0, spm::PieceType::control}};
  for (const auto& word : words_)
    model.pieces.push_back({"\u2581" + word, -static_cast<float>(model.pieces.size())});
  return model.to_bytes();
}

int64_t make_recall_set(const RecallOptions& options, const fs::path& folder, uint64_t seed) {
  const RecallTask task(options);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(Exit::cannot_create, folder.string(), ": ", error.message());
  const auto tokenizer = task.tokenizer();
  const auto hash = io::xxh3(tokenizer.data(), tokenizer.size());
  io::AtomicFile model(folder / "tokenizer.model");
  model.write(tokenizer);
  model.seal();
  const auto writer = [&](const std::string& name, const char* split) {
    return TokenWriter(folder / (name + ".safetensors"), task.vocab_size(), hash, split);
  };
  const auto put = [&](TokenWriter& to, const RecallDocument& document) {
    to.begin_document();
    to.append(document.ids, document.scored);
    to.add_text_bytes(document.bytes);
  };
  auto train = writer("train", "train"), validation = writer("validation", "validation");
  const auto kinds = static_cast<int64_t>(options.facts.size());
  for (int64_t i = 0; i < options.train; ++i) {
    auto random = random_stream(seed, kTrainingPurpose, i);
    put(train, task.document(random, options.facts[static_cast<size_t>(random.below(kinds))]));
  }
  for (int64_t kind = 0; kind < kinds; ++kind) {
    const int64_t facts = options.facts[static_cast<size_t>(kind)];
    auto some = writer(concat("facts-", facts), "validation");
    for (int64_t i = 0; i < options.validation; ++i) {
      auto random = random_stream(seed, kValidationPurpose, kind * options.validation + i);
      const auto document = task.document(random, facts);
      put(some, document);
      put(validation, document);
    }
    some.seal();
    some.commit();
  }
  model.commit();
  packed::commit(folder, train, &validation);
  return task.length();
}

namespace {

class TokenizeRecall final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "A document is facts ('k03=5'), words that say nothing ('x07') and questions with their\n"
        "answers ('k03?' '5'). Answers alone are scored, each fact's once: the tensor 'scored'\n"
        "tells lact-train text and lact-bench quality text. --kind two-hop needs two facts for an\n"
        "answer ('k03>m07', 'm07=5'); in many-query documents a fact is two tokens ('k03' '5') "
        "and\n"
        "a question its key. Train on it with --rows documents. LIST is N, A-B, A-B+STEP,\n"
        "A-B*FACTOR, or a list of these.");
    options
        .add("-o,--output", folder_,
             "folder for train.safetensors, validation.safetensors, facts-N.safetensors and "
             "tokenizer.model")
        .value("DIR")
        .required();
    options.add("--kind", recall_.kind, "kind of facts and questions")
        .words({"facts", "two-hop", "many-query"});
    options.add("--facts", facts_, "numbers of facts, of which each document has one")
        .value("LIST")
        .initially("4-32*2");
    options.add("--keys", recall_.keys, "number of different keys").range(1, 100);
    options.add("--values", recall_.values, "number of different values").range(2, 1000);
    options.add("--filler", recall_.filler, "tokens between the facts and the first question")
        .range(0, 1 << 20);
    options.add("--questions", recall_.questions, "questions of a document").range(1, 1 << 20);
    options.add("--count", recall_.train, "number of documents for training")
        .range(1, 1 << 30)
        .value("N");
    options
        .add("--validation-count", recall_.validation,
             "number of documents for validation with each number of facts")
        .range(1, 1 << 30)
        .value("N");
  }

  void run(cli::Context& context) override {
    recall_.facts = cli::parse_numbers(facts_, "--facts", recall_.facts);
    const auto length = make_recall_set(recall_, folder_, context.seed.value_or(kDefaultSeed));
    const int64_t validation = recall_.validation * static_cast<int64_t>(recall_.facts.size());
    log::info(recall_.train, " documents for training, ", validation, " for validation, of ",
              length, " tokens");
    if (context.json)
      cli::out(nlohmann::ordered_json{{"train", {{"documents", recall_.train}}},
                                      {"validation", {{"documents", validation}}},
                                      {"document_tokens", length},
                                      {"facts", recall_.facts}}
                   .dump(2) +
               "\n");
  }

 private:
  RecallOptions recall_;
  std::string folder_;
  std::vector<std::string> facts_;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_recall() {
  return std::make_unique<TokenizeRecall>();
}

}  // namespace lact::text
