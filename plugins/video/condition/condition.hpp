#pragma once
// What a prompt is to the model. Source: spec/video 2, 8.2, 10.

#include <plugins/video/model/config.hpp>

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::video {

/// Prompts to [n, <= text_len, text_dim]. The empty prompt is "nothing said": what guidance's other
/// branch gets unless there is a negative prompt.
class Conditioner {
 public:
  virtual ~Conditioner() = default;
  /// Errors   64 for a class that is not there, with the nearest
  virtual at::Tensor embed(const std::vector<std::string>& prompts) const = 0;
  /// False where a prompt gets what stands for all that are not known.
  virtual bool knows(const std::string&) const { return true; }
};

/// `table` is VideoModel::condition_table(), looked up differentiably ("class": a name or number;
/// "bytes": the prompt's UTF-8 bytes and an end, as many as text_len takes, less the mean over all
/// rows); "none" is one row of zeros; "umt5" runs the encoder in `text_encoder`
/// (wan/text_encoder.hpp says where that and its `tokenizer` may lie). Errors   64 if
/// `text_encoder` is needed and empty; 65, 66
std::unique_ptr<Conditioner> make_conditioner(const Config& config, const at::Tensor& table,
                                              const std::filesystem::path& text_encoder = {},
                                              const std::filesystem::path& tokenizer = {},
                                              at::Device device = at::kCPU);

}  // namespace lact::video
