#pragma once
// What lact-train views drives.

#include <lact/train/task.hpp>

#include <memory>

namespace lact::views {

std::unique_ptr<train::Task> make_task();

}  // namespace lact::views
