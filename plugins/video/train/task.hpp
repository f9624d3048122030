#pragma once
// What lact-train video drives.

#include <lact/train/task.hpp>

#include <memory>

namespace lact::video {

std::unique_ptr<train::Task> make_task();

}  // namespace lact::video
