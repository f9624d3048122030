#pragma once
// Training a language model on packed tokens: what lact-train text drives.

#include <lact/train/task.hpp>

#include <memory>

namespace lact::text {

std::unique_ptr<train::Task> make_task();

}  // namespace lact::text
