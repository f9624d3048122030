#include <lact/train/task.hpp>

namespace lact::train {

// One home for the vtables: plugins derive from these.
Source::~Source() = default;
Task::~Task() = default;

}  // namespace lact::train
