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

}  // namespace lact::text
