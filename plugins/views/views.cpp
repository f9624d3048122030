// The views modality: posed photographs in, new views out.

#include "commands.hpp"

#include <plugins/views/train/task.hpp>
#include <plugins/views/verify/golden.hpp>

#include <vector>

namespace lact::views {
namespace {

using plugin::Tool;

std::vector<plugin::Listed> list() {
  return {
      {Tool::tokenize, {"pack", "pack photographs and their cameras as scenes"}, tokenize_pack},
      {Tool::tokenize,
       {"info", "show what packed scenes, or photographs with cameras, hold"},
       tokenize_info},
      {Tool::tokenize, {"objects", "draw posed pictures of models of objects"}, tokenize_objects},
      {Tool::render,
       {"", "read photographs, keep them as a state, render new views"},
       render_views},
      {Tool::bench, {"", "measure how fast scenes are read and views rendered"}, bench_views},
      {Tool::bench,
       {"quality", "measure PSNR, SSIM and LPIPS by number of views read"},
       quality_views},
  };
}

class Views final : public plugin::ListedModality {
 public:
  Views() : ListedModality(list()) {}
  std::unique_ptr<train::Task> task() override { return make_task(); }
  std::vector<plugin::GoldenKind> verifiers() override { return golden_kinds(); }
  std::vector<plugin::Check> checks() override { return model_checks(); }
};

}  // namespace
}  // namespace lact::views

LACT_PLUGIN(lact::views::Views, "views", "novel views of photographed scenes")
