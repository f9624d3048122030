// lact-tokenize text info: shows what a tokenizer or packed tokens hold.

#include "entropy.hpp"

#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>

namespace lact::text {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string shown(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number_float()) return value.dump();
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value.get<double>());
  return text;
}

/// Keys down, files across.
std::string table(const std::vector<std::pair<std::string, Json>>& columns) {
  std::vector<std::string> keys;
  for (const auto& [name, values] : columns)
    for (const auto& item : values.items())
      if (std::count(keys.begin(), keys.end(), item.key()) == 0) keys.push_back(item.key());
  const auto pad = [](std::string text, size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
  };
  size_t first = 0;
  for (const auto& key : keys) first = std::max(first, key.size());
  std::vector<std::string> lines(keys.size() + 1, pad("", first));
  for (size_t i = 0; i < keys.size(); ++i) lines[i + 1] = pad(keys[i], first);
  for (const auto& [name, values] : columns) {
    std::vector<std::string> cells{name};
    for (const auto& key : keys) cells.push_back(values.contains(key) ? shown(values[key]) : "");
    size_t width = 0;
    for (const auto& cell : cells) width = std::max(width, cell.size());
    for (size_t i = 0; i < lines.size(); ++i) lines[i] += "  " + pad(cells[i], width);
  }
  std::string text;
  for (auto& line : lines) {
    line.resize(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

class Info final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add("FILE", inputs_,
             "tokenizers (*.model), packed data (*.safetensors), or folders that hold them")
        .required();
    options.flag("--no-entropy", no_entropy_, "do not read, check and count the tokens");
  }

  void run(cli::Context& context) override {
    std::vector<std::string> files;
    for (const auto& input : inputs_) find(input, files);
    std::vector<std::pair<std::string, Json>> columns;
    for (const auto& file : files)
      columns.emplace_back(
          file, fs::path(file).extension() == ".safetensors" ? packed(file) : tokenizer(file));
    if (!context.json) return cli::out(table(columns));
    Json all = Json::object();
    for (auto& [name, values] : columns) all[name] = std::move(values);
    cli::out(all.dump(2) + "\n");
  }

 private:
  static void find(const std::string& input, std::vector<std::string>& files) {
    if (!fs::is_directory(input)) {
      files.push_back(input);
      return;
    }
    const size_t before = files.size();
    for (const char* name : {"train.safetensors", "validation.safetensors", "tokenizer.model"})
      if (fs::exists(fs::path(input) / name)) files.push_back((fs::path(input) / name).string());
    if (files.size() == before)
      throw Error(Exit::no_input, input, ": holds neither packed data nor a tokenizer.model");
  }

  Json packed(const std::string& file) {
    const auto data = PackedTokens::open(file);
    Json values;
    values["kind"] = "tokens";
    values["documents"] = data.documents();
    values["tokens"] = data.tokens();
    values["bytes"] = data.text_bytes();
    if (data.tokens() > 0)
      values["bytes_per_token"] =
          static_cast<double>(data.text_bytes()) / static_cast<double>(data.tokens());
    values["vocab_size"] = data.vocab_size();
    values["tokenizer"] = data.tokenizer();
    if (no_entropy_) return values;
    data.verify();
    const TokenCounts own(data);
    values["unigram_entropy_nats"] = own.unigram_entropy();
    values["bigram_entropy_nats"] = own.bigram_entropy();
    // Measured on other tokens than those counted: what a model's validation loss compares with.
    const auto train = fs::path(file).parent_path() / "train.safetensors";
    if (fs::path(file).filename() != "validation.safetensors" || !fs::exists(train)) return values;
    const auto train_data = PackedTokens::open(train);
    if (train_data.tokenizer() != data.tokenizer()) return values;
    const TokenCounts counts(train_data);
    values["unigram_of_train_nats"] = counts.unigram_loss(data);
    values["bigram_of_train_nats"] = counts.bigram_loss(data);
    return values;
  }

  static Json tokenizer(const std::string& file) {
    const auto tokenizer = spm::Tokenizer::open(file);
    const auto id = [](std::optional<int> value) { return value ? Json(*value) : Json(); };
    Json values;
    values["kind"] = "tokenizer";
    values["vocab_size"] = tokenizer.vocab_size();
    values["tokenizer"] = tokenizer.hash();
    values["bos"] = id(tokenizer.bos());
    values["eos"] = id(tokenizer.eos());
    values["pad"] = id(tokenizer.pad());
    values["unknown"] = tokenizer.unknown();
    values["byte_fallback"] = tokenizer.byte_fallback();
    return values;
  }

  std::vector<std::string> inputs_;
  bool no_entropy_ = false;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_info() {
  return std::make_unique<Info>();
}

}  // namespace lact::text
