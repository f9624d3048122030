#pragma once
// The verbs that views bring.

#include <lact/plugin/modality.hpp>

#include <memory>

namespace lact::views {

std::unique_ptr<plugin::Command> tokenize_pack();
std::unique_ptr<plugin::Command> tokenize_info();
std::unique_ptr<plugin::Command> tokenize_objects();
std::unique_ptr<plugin::Command> render_views();
std::unique_ptr<plugin::Command> bench_views();
std::unique_ptr<plugin::Command> quality_views();

}  // namespace lact::views
