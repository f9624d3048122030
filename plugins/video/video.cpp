// The video modality: films made chunk by chunk; each updates the fast weights before the next.

#include "commands.hpp"

#include <plugins/video/train/task.hpp>
#include <plugins/video/verify/golden.hpp>

#include <vector>

namespace lact::video {
namespace {

using plugin::Tool;

std::vector<plugin::Listed> list() {
  return {
      {Tool::tokenize, {"pack", "pack films as clips that cross no cut"}, tokenize_pack},
      {Tool::tokenize, {"info", "show what packed clips or films hold"}, tokenize_info},
      {Tool::tokenize, {"digits", "make clips of moving digits"}, tokenize_digits},
      {Tool::tokenize,
       {"pan", "make clips that return to what they have shown: a test of memory"},
       tokenize_pan},
      {Tool::generate, {"", "make a film, or continue one, chunk by chunk"}, generate_video},
      {Tool::bench, {"", "measure time and memory of a chunk, however long the film"}, bench_video},
      {Tool::bench,
       {"quality", "measure how close continuations stay to the real frames"},
       quality_video},
  };
}

class Video final : public plugin::ListedModality {
 public:
  Video() : ListedModality(list()) {}
  std::unique_ptr<train::Task> task() override { return make_task(); }
  std::vector<plugin::GoldenKind> verifiers() override {
    auto all = model_kinds();
    for (const auto& kinds : {flow_kinds(), wan_kinds()})
      all.insert(all.end(), kinds.begin(), kinds.end());
    return all;
  }
  std::vector<plugin::Check> checks() override { return model_checks(); }
};

}  // namespace
}  // namespace lact::video

LACT_PLUGIN(lact::video::Video, "video", "autoregressive video diffusion")
