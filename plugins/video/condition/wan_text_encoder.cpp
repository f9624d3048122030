#include "wan_text_encoder.hpp"

#include "clean_text.hpp"
#include "umt5.hpp"

#include <plugins/common/spm/tokenizer.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/paths.hpp>

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using io::is_folder;
using io::is_there;

/// Rows of zeros below the shorter ones.
Tensor padded(const std::vector<Tensor>& each) {
  int64_t longest = 1;
  for (const auto& one : each) longest = std::max(longest, one.size(0));
  std::vector<Tensor> all;
  for (const auto& one : each)
    all.push_back(at::constant_pad_nd(one, {0, 0, 0, longest - one.size(0)}, 0));
  return at::stack(all);
}

class TextEncoder final : public Conditioner {
 public:
  TextEncoder(Umt5 network, spm::Tokenizer tokenizer, int64_t length, at::Device device)
      : network_(std::move(network)),
        tokenizer_(std::move(tokenizer)),
        length_(length),
        device_(device) {}
  /// One after another, so that a prompt's numbers do not depend on its neighbours.
  Tensor embed(const std::vector<std::string>& prompts) const override {
    std::vector<Tensor> each;
    for (const auto& prompt : prompts) each.push_back(embed_one(prompt));
    return padded(each);
  }

 private:
  Tensor embed_one(const std::string& prompt) const {
    const auto pieces = tokenizer_.encode_normalized(clean_prompt(prompt));
    std::vector<int64_t> ids(pieces.begin(), pieces.end());
    ids.resize(std::min(ids.size(), static_cast<size_t>(length_ - 1)));
    ids.push_back(*tokenizer_.eos());
    const auto row = at::tensor(ids, at::kLong).unsqueeze(0).to(device_);
    return network_.encode(row, at::ones_like(row))[0];
  }

  Umt5 network_;
  spm::Tokenizer tokenizer_;
  int64_t length_;
  at::Device device_;
};

/// Embeddings that another program, or an earlier run, has computed.
class Precomputed final : public Conditioner {
 public:
  Precomputed(io::SafeTensors file, int64_t length, int64_t width, at::Device device)
      : file_(std::move(file)), length_(length), width_(width), device_(device) {}
  Tensor embed(const std::vector<std::string>& prompts) const override {
    std::vector<Tensor> each;
    for (const auto& prompt : prompts) each.push_back(find(prompt));
    return padded(each);
  }
  bool knows(const std::string& prompt) const override { return file_.contains(prompt); }

 private:
  Tensor find(const std::string& prompt) const {
    const auto name = file_.contains(prompt) || prompt.empty() ? prompt : kAny;
    const auto refuse = [&](const auto&... what) {
      throw Error(Exit::data, file_.path().string(), ": ", what...);
    };
    if (!file_.contains(name))
      refuse("no embedding of prompt '", io::printable(prompt), "': expected a tensor of that name",
             prompt.empty() ? "" : ", or 'embedding'");
    const auto tensor = file_.tensor(name);
    if (tensor.dim() != 2 || tensor.size(0) < 1 || tensor.size(0) > length_ ||
        tensor.size(1) != width_ || !tensor.is_floating_point())
      refuse("tensor '", io::printable(name), "': expected numbers of shape [1 to ", length_, ", ",
             width_, "], found ", file_.entry(name).dtype, " ", tensor.sizes());
    return tensor.to(device_, at::kFloat);
  }

  inline static const std::string kAny = "embedding";
  io::SafeTensors file_;
  int64_t length_, width_;
  at::Device device_;
};

/// The first of these that is there, or `otherwise`.
fs::path first_of(const std::vector<fs::path>& places, const fs::path& otherwise) {
  const auto found = std::find_if(places.begin(), places.end(), is_there);
  return found == places.end() ? otherwise : *found;
}

fs::path tokenizer_place(const fs::path& encoder, const fs::path& given) {
  constexpr const char* kName = "spiece.model";
  if (!given.empty()) return is_folder(given) ? given / kName : given;
  const auto folder = is_folder(encoder) ? encoder : encoder.parent_path();
  std::vector<fs::path> places;
  for (const auto& at : {folder, folder / ".."})
    for (const char* inside : {"", "google/umt5-xxl", "tokenizer"})
      places.push_back(at / inside / kName);
  const auto found = first_of(places, {});
  if (found.empty())
    throw Error(Exit::no_input, encoder.string(), ": holds no ", kName,
                " beside the encoder, in google/umt5-xxl or tokenizer; see --tokenizer");
  return found;
}

bool has_embeddings(const fs::path& where) {
  return where.extension() == ".safetensors" && !is_folder(where);
}

}  // namespace

std::unique_ptr<Conditioner> open_text_encoder(const fs::path& where, const fs::path& tokenizer,
                                               int64_t length, int64_t width, at::Device device) {
  if (has_embeddings(where)) {
    auto file = io::SafeTensors::open(where);
    if (!file.contains("shared.weight") && !file.contains("token_embedding.weight"))
      return std::make_unique<Precomputed>(std::move(file), length, width, device);
  }
  const auto place =
      first_of({where / "models_t5_umt5-xxl-enc-bf16.pth", where / "text_encoder"}, where);
  auto network = Umt5::load(io::Checkpoint::open(place), place.string(), device);
  if (network.width() != width)
    throw Error(Exit::data, place.string(), ": expected an encoder of width ", width,
                ", as the model's text_dim, found ", network.width());
  const auto pieces = tokenizer_place(place, tokenizer);
  auto opened = spm::Tokenizer::open(pieces);
  if (!opened.eos() || opened.vocab_size() > network.vocabulary())
    throw Error(Exit::data, pieces.string(), ": expected an end token and at most ",
                network.vocabulary(), " pieces, as the encoder has, found ", opened.vocab_size());
  return std::make_unique<TextEncoder>(std::move(network), std::move(opened), length, device);
}

}  // namespace lact::video
