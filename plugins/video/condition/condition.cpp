#include "condition.hpp"

#include "wan_text_encoder.hpp"

#include <lact/cli/nearest.hpp>
#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int64_t kEnd = 256;  // the row of a text's end

Tensor indices(const std::vector<int64_t>& rows, const Tensor& table) {
  return at::tensor(rows, at::kLong).to(table.device());
}

/// Nothing is ever said: one row of zeros.
class Unconditional final : public Conditioner {
 public:
  Unconditional(int64_t width, at::Device device)
      : zeros_(at::zeros({1, width}, at::TensorOptions(device).dtype(at::kFloat))) {}
  Tensor embed(const std::vector<std::string>& prompts) const override {
    return zeros_.expand({static_cast<int64_t>(prompts.size()), -1, -1});
  }

 private:
  Tensor zeros_;
};

/// A class by its name or number.
class ByClass final : public Conditioner {
 public:
  ByClass(std::vector<std::string> names, Tensor table)
      : names_(std::move(names)), table_(std::move(table)) {}
  Tensor embed(const std::vector<std::string>& prompts) const override {
    std::vector<int64_t> rows;
    for (const auto& prompt : prompts) rows.push_back(row(prompt));
    return table_.index_select(0, indices(rows, table_));
  }

 private:
  int64_t row(const std::string& prompt) const {
    const auto classes = static_cast<int64_t>(names_.size());
    if (prompt.empty()) return classes;
    const auto found = std::find(names_.begin(), names_.end(), prompt);
    if (found != names_.end()) return found - names_.begin();
    int64_t number = -1;
    const auto* end = prompt.data() + prompt.size();
    const auto read = std::from_chars(prompt.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end && number >= 0 && number < classes) return number;
    throw Error(Exit::usage, "prompt: expected a class of the model or its number below ", classes,
                ", found '", prompt, "'", cli::did_you_mean(prompt, names_));
  }

  std::vector<std::string> names_;
  Tensor table_;
};

/// The bytes of a text, each a learned vector.
class ByBytes final : public Conditioner {
 public:
  ByBytes(int64_t length, Tensor table) : length_(length), table_(std::move(table)) {}
  Tensor embed(const std::vector<std::string>& prompts) const override {
    size_t longest = 0;
    for (const auto& prompt : prompts) longest = std::max(longest, kept(prompt).size());
    const auto rows = static_cast<int64_t>(longest) + 1;
    const auto table = table_ - table_.mean(0, true);
    std::vector<Tensor> each;
    for (const auto& prompt : prompts) {
      std::vector<int64_t> ids;
      for (const unsigned char byte : kept(prompt)) ids.push_back(byte);
      ids.push_back(kEnd);
      const auto embedded = table.index_select(0, indices(ids, table));
      each.push_back(at::constant_pad_nd(embedded, {0, 0, 0, rows - embedded.size(0)}, 0));
    }
    return at::stack(each);  // [n, rows, text_dim]
  }

 private:
  /// What is left beside the end.
  std::string_view kept(const std::string& prompt) const {
    return std::string_view(prompt).substr(0, static_cast<size_t>(length_ - 1));
  }

  int64_t length_;
  Tensor table_;
};

}  // namespace

std::unique_ptr<Conditioner> make_conditioner(const Config& config, const Tensor& table,
                                              const std::filesystem::path& text_encoder,
                                              const std::filesystem::path& tokenizer,
                                              at::Device device) {
  const auto shape = condition_shape(config);
  if (!shape.empty() && (!table.defined() || table.sizes() != at::IntArrayRef(shape)))
    throw Error(Exit::internal, "condition.table: expected ", at::IntArrayRef(shape));
  if (config.condition == "none") return std::make_unique<Unconditional>(config.text_dim, device);
  if (config.condition == "class") return std::make_unique<ByClass>(config.classes, table);
  if (config.condition == "bytes") return std::make_unique<ByBytes>(config.text_len, table);
  if (config.condition == "umt5") {
    if (text_encoder.empty())
      throw Error(Exit::usage, "condition umt5: its encoder is not given; see --text-encoder");
    return open_text_encoder(text_encoder, tokenizer, config.text_len, config.text_dim, device);
  }
  throw Error(Exit::config, "condition: expected none, class, bytes or umt5, found ",
              config.condition);
}

}  // namespace lact::video
