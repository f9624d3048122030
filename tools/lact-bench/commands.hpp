#pragma once
// The verbs that lact-bench has of its own.

#include <lact/plugin/modality.hpp>

#include <memory>

namespace lact::bench {

std::unique_ptr<plugin::Command> plugins_command();
std::unique_ptr<plugin::Command> ceiling_command();
std::unique_ptr<plugin::Command> op_command();
std::unique_ptr<plugin::Command> comm_command();
std::unique_ptr<plugin::Command> plot_command();
std::unique_ptr<plugin::Command> verify_command();

}  // namespace lact::bench
