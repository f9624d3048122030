#include "compare.hpp"

#include "score.hpp"

#include <plugins/common/media/sheet.hpp>
#include <plugins/views/scene/frames.hpp>

#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace lact::views {
namespace {

using at::Tensor;

constexpr size_t kMost = 8;  // in a row of a sheet

Tensor pictures(const Views& views, const std::vector<int64_t>& which) {
  return stacked(views.scene.images, which).to(at::kFloat).div(255);
}

}  // namespace

std::string comparison_text(const Tensor& rendered, const Views& views, const media::Lpips* lpips,
                            bool json) {
  const auto truth = pictures(views, views.targets);
  nlohmann::ordered_json out = {{"scene", views.scene.name}, {"context", views.context.size()}};
  std::string lines;
  const auto add = [&](const char* key, const char* name, const Tensor& images) {
    const auto one = score(images, truth, lpips);
    out[key] = to_json(one);
    lines += name + to_line(one) + "\n";
  };
  add("model", "model         ", rendered);
  if (!views.context.empty()) {
    const auto context = pictures(views, views.context);
    add("nearest_view", "nearest view  ",
        nearest_views(views.context_cameras(), context, views.target_cameras()));
    add("mean_colour", "mean colour   ", mean_colour(context, truth.size(0)));
  }
  if (!json) return lines;
  out["targets"] = nlohmann::ordered_json::array();
  const auto scores = score_each(rendered, truth, lpips);
  for (size_t i = 0; i < scores.size(); ++i) {
    auto one = to_json(scores[i]);
    one.erase("views");
    one["file"] = views.scene.files[static_cast<size_t>(views.targets[i])];
    out["targets"].push_back(one);
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

media::Image comparison_sheet(const Tensor& rendered, const Views& views) {
  const auto first = [](std::vector<int64_t> all) {
    all.resize(std::min(all.size(), kMost));
    return all;
  };
  std::vector<media::SheetRow> rows;
  const auto add = [&](const char* label, const Tensor& images) {
    rows.push_back({label, {}});
    for (int64_t i = 0; i < images.size(0); ++i) rows.back().images.push_back(image_of(images[i]));
  };
  const auto truth = pictures(views, first(views.targets)),
             ours = rendered.slice(0, 0, truth.size(0));
  if (!views.context.empty()) add("context", pictures(views, first(views.context)));
  add("truth", truth);
  add("ours", ours);
  add("difference", (ours - truth).abs());
  return media::contact_sheet(rows);
}

}  // namespace lact::views
