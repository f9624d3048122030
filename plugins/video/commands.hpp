#pragma once
// The verbs that video brings.

#include <lact/plugin/modality.hpp>

#include <memory>
#include <vector>

namespace lact::video {

std::unique_ptr<plugin::Command> tokenize_pack();
std::unique_ptr<plugin::Command> tokenize_info();
std::unique_ptr<plugin::Command> tokenize_digits();
std::unique_ptr<plugin::Command> tokenize_pan();
std::unique_ptr<plugin::Command> generate_video();
std::unique_ptr<plugin::Command> bench_video();
std::unique_ptr<plugin::Command> quality_video();

}  // namespace lact::video
