#include "small_model.hpp"

#include "models.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

namespace lact::test {
namespace {

/// Training takes a second: once is enough.
const std::string& tokenizer_model() {
  static const std::string model = train_model();
  return model;
}

}  // namespace

text::Config small_config() {
  text::Config c;
  c.hidden_size = 32;
  c.num_hidden_layers = 2;
  c.num_attn_heads = 4;
  c.num_lact_heads = 2;
  c.lact_chunk_size = 8;
  c.window_size = 6;
  c.w0_w2_low_rank = 4;
  c.intermediate_size = 48;
  c.initializer_range = 0.3;
  c.vocab_size = 61;
  return c;
}

void write_model(const std::filesystem::path& folder, const text::Config& config, uint64_t seed) {
  io::CheckpointWriter writer(folder);
  writer.file("tokenizer.model", tokenizer_model());
  const TemporaryFolder scratch;
  io::write_text(scratch / "tokenizer.model", tokenizer_model());
  auto complete = config;
  complete.vocab_size = spm::Tokenizer::open(scratch / "tokenizer.model").vocab_size();
  const auto model = text::LanguageModel::fresh(complete, seed, at::kCPU);
  writer.file("config.json", complete.to_json().dump());
  writer.tensors("model.safetensors", model.parameters(), {{"format", "pt"}});
  writer.commit();
}

text::LoadedModel load(const std::filesystem::path& folder, at::ScalarType dtype) {
  return text::load_model({folder, {}, at::kCPU, dtype, /*hash=*/true});
}

}  // namespace lact::test
