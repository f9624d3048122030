#include "prompts.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace lact::video {
namespace {

using at::Tensor;

/// [1, rows, width] without the rows of zeros at its end, which models add again.
Tensor without_padding(const Tensor& embedded) {
  const auto used = embedded[0].ne(0).any(1).nonzero();
  const int64_t rows = used.size(0) == 0 ? 1 : used.max().item<int64_t>() + 1;
  return embedded[0].slice(0, 0, rows).cpu().contiguous().clone();
}

}  // namespace

Prompts::Prompts(const Config& config, std::filesystem::path text_encoder,
                 std::filesystem::path tokenizer, at::Device device)
    : config_(config),
      text_encoder_(std::move(text_encoder)),
      tokenizer_(std::move(tokenizer)),
      device_(device) {}

std::string Prompts::prompt(const PackedClips& clips, int64_t clip) const {
  if (clip < 0) return {};
  const auto& info = clips.info(clip);
  return config_.condition == "class" ? info.label : info.caption;
}

void Prompts::prepare(const PackedClips& clips) {
  if (config_.condition != "umt5") return;
  const at::NoGradGuard no_grad;
  const auto encoder = make_conditioner(config_, {}, text_encoder_, tokenizer_, device_);
  for (int64_t clip = -1; clip < clips.size(); ++clip) {
    if (cli::stop_requested()) throw cli::Interrupted();
    const auto words = prompt(clips, clip);
    if (encoded_.count(words) != 0) continue;
    if (!words.empty() && !encoder->knows(words))  // or all captions might get the same rows
      throw Error(Exit::data, text_encoder_.string(), ": no embedding of prompt '",
                  io::printable(words), "' of clip ", clip, ": expected a tensor of that name");
    encoded_[words] = without_padding(encoder->embed({words}));
  }
}

Tensor Prompts::of(const PackedClips& clips, const Tensor& which, const Tensor& table) const {
  std::vector<std::string> words;
  for (int64_t i = 0; i < which.numel(); ++i)
    words.push_back(prompt(clips, which[i].item<int64_t>()));
  if (config_.condition != "umt5")
    return make_conditioner(config_, table, {}, {}, device_)->embed(words);
  int64_t rows = 1;
  for (const auto& one : words) rows = std::max(rows, encoded_.at(one).size(0));
  std::vector<Tensor> padded;
  for (const auto& one : words) {
    const auto& embedded = encoded_.at(one);
    padded.push_back(at::constant_pad_nd(embedded, {0, 0, 0, rows - embedded.size(0)}, 0));
  }
  return at::stack(padded).to(device_);
}

}  // namespace lact::video
