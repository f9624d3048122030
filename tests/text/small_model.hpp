#pragma once
// A model directory with random parameters and a tokenizer of its own, for tests.

#include <plugins/text/session/session.hpp>
#include "support/test.hpp"

#include <filesystem>

namespace lact::test {

/// Small, with windows and chunks that short texts cross.
text::Config small_config();

/// config.json, model.safetensors and tokenizer.model; parameters drawn from `seed`, vocab_size the
/// tokenizer's.
void write_model(const std::filesystem::path& folder, const text::Config& config = small_config(),
                 uint64_t seed = 5);

text::LoadedModel load(const std::filesystem::path& folder, at::ScalarType dtype = at::kFloat);

}  // namespace lact::test
