#pragma once
// The verbs of the text modality; text.cpp lists them.

#include <lact/plugin/modality.hpp>

#include <memory>

namespace lact::text {

std::unique_ptr<plugin::Command> generate();    // lact-generate
std::unique_ptr<plugin::Command> bench_text();  // lact-bench

}  // namespace lact::text
