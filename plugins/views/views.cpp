// The views modality: photographs in, new views out.

#include "commands.hpp"
#include "golden.hpp"

namespace lact::views {
namespace {

using plugin::Tool;

class Views final : public plugin::Modality {
 public:
  std::vector<plugin::Verb> verbs(Tool) const override { return {}; }
  std::unique_ptr<plugin::Command> command(Tool, std::string_view) override { return nullptr; }
  std::unique_ptr<train::Task> task() override { return nullptr; }
  std::vector<plugin::GoldenKind> verifiers() override { return golden_kinds(); }
};

}  // namespace
}  // namespace lact::views

LACT_PLUGIN(lact::views::Views, "views", "novel views of photographed scenes")
