#pragma once
// The verbs of the text modality; text.cpp lists them.

#include <lact/plugin/modality.hpp>

#include <memory>

namespace lact::text {

// lact-tokenize
std::unique_ptr<plugin::Command> tokenize_train();
std::unique_ptr<plugin::Command> tokenize_encode();
std::unique_ptr<plugin::Command> tokenize_decode();
std::unique_ptr<plugin::Command> tokenize_info();
std::unique_ptr<plugin::Command> tokenize_recall();

// lact-generate
std::unique_ptr<plugin::Command> generate();

// lact-bench
std::unique_ptr<plugin::Command> bench_text();
std::unique_ptr<plugin::Command> quality_text();
std::unique_ptr<plugin::Command> sweep_text();

}  // namespace lact::text
