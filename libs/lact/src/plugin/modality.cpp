#include <lact/plugin/modality.hpp>

namespace lact::plugin {

// One home for the vtables: plugins derive from these.
Command::~Command() = default;
Modality::~Modality() = default;

std::vector<Verb> ListedModality::verbs(Tool tool) const {
  std::vector<Verb> found;
  for (const auto& listed : list_)
    if (listed.tool == tool) found.push_back(listed.verb);
  return found;
}

std::unique_ptr<Command> ListedModality::command(Tool tool, std::string_view verb) {
  for (const auto& listed : list_)
    if (listed.tool == tool && listed.verb.name == verb) return listed.make();
  return nullptr;
}

}  // namespace lact::plugin
