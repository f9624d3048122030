#include <lact/plugin/modality.hpp>

namespace lact::plugin {

// One home for the vtables: plugins derive from these.
Command::~Command() = default;
Modality::~Modality() = default;

}  // namespace lact::plugin
