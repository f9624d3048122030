// The views modality: posed photographs in, new views out.

#include "commands.hpp"
#include "golden.hpp"
#include "task.hpp"

#include <array>

namespace lact::views {
namespace {

using plugin::Tool;

struct Entry {
  Tool tool;
  plugin::Verb verb;
  std::unique_ptr<plugin::Command> (*make)();
};

const std::array kEntries{
    Entry{Tool::tokenize, {"pack", "photographs and cameras to packed scenes"}, tokenize_pack},
    Entry{Tool::tokenize, {"info", "what packed scenes or a capture hold"}, tokenize_info},
    Entry{Tool::tokenize, {"objects", "models of objects to posed pictures"}, tokenize_objects},
    Entry{Tool::render,
          {"", "read photographs, keep them as a state, render new views"},
          render_views},
    Entry{Tool::bench, {"", "how fast scenes are read and views rendered"}, bench_views},
    Entry{Tool::bench, {"quality", "PSNR, SSIM and LPIPS by number of views read"}, quality_views},
};

class Views final : public plugin::Modality {
 public:
  std::vector<plugin::Verb> verbs(Tool tool) const override {
    std::vector<plugin::Verb> found;
    for (const auto& entry : kEntries)
      if (entry.tool == tool) found.push_back(entry.verb);
    return found;
  }
  std::unique_ptr<plugin::Command> command(Tool tool, std::string_view verb) override {
    for (const auto& entry : kEntries)
      if (entry.tool == tool && entry.verb.name == verb) return entry.make();
    return nullptr;
  }
  std::unique_ptr<train::Task> task() override { return make_task(); }
  std::vector<plugin::GoldenKind> verifiers() override { return golden_kinds(); }
  std::vector<plugin::Check> checks() override { return model_checks(); }
};

}  // namespace
}  // namespace lact::views

LACT_PLUGIN(lact::views::Views, "views", "novel views of photographed scenes")
