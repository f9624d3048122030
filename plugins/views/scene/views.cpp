#include "views.hpp"

#include <plugins/views/camera/choose_views.hpp>

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>
#include <utility>

namespace lact::views {
namespace {

template <class T>
std::vector<T> pick(const std::vector<T>& all, const std::vector<int64_t>& which) {
  std::vector<T> some;
  for (const int64_t one : which) some.push_back(all.at(static_cast<size_t>(one)));
  return some;
}

/// `count` of the candidates.
std::vector<int64_t> chosen(const Scene& scene, const std::vector<int64_t>& candidates,
                            int64_t count, const std::string& how, uint64_t seed) {
  const auto all = static_cast<int64_t>(candidates.size());
  std::vector<int64_t> places;
  if (how == "kmeans" && count > 0 && count < all) {
    places = choose_views(pick(scene.cameras, candidates), count, seed);
  } else if (how == "random") {
    std::vector<int64_t> order(candidates.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    Random random(seed);
    for (int64_t i = 0; i < count; ++i)
      std::swap(order[static_cast<size_t>(i)],
                order[static_cast<size_t>(
                    i + static_cast<int64_t>(random.next() % static_cast<uint64_t>(all - i)))]);
    places.assign(order.begin(), order.begin() + count);
    std::sort(places.begin(), places.end());
  } else {
    for (int64_t i = 0; i < count; ++i) places.push_back(how == "even" ? i * all / count : i);
  }
  return pick(candidates, places);
}

bool is_target(const Scene& scene, const Choice& choice, int64_t view) {
  if (choice.split)
    return std::find(scene.held.begin(), scene.held.end(), view) != scene.held.end();
  return choice.target_every > 0 && view % choice.target_every == 0;
}

}  // namespace

std::vector<Camera> Views::context_cameras() const {
  return pick(scene.cameras, context);
}
std::vector<Camera> Views::target_cameras() const {
  return pick(scene.cameras, targets);
}
void choose(Views& views, const Choice& choice, uint64_t seed) {
  const auto all = static_cast<int64_t>(views.scene.images.size());
  std::vector<int64_t> candidates;
  views.targets.clear();
  if (choice.split && views.scene.held.empty())
    throw Error(Exit::usage, "--target-split: scene ", views.scene.name, " holds out no views; ",
                "packed scenes do where pack was given --validation-split");
  const bool held_out = choice.split || choice.target_every > 0;
  for (int64_t i = 0; i < all; ++i)
    (is_target(views.scene, choice, i) ? views.targets : candidates).push_back(i);
  const auto count = choice.context.value_or(static_cast<int64_t>(candidates.size()));
  if (count < 0 || count > static_cast<int64_t>(candidates.size()))
    throw Error(Exit::usage, "--context-views ", count, ": scene ", views.scene.name, " has ",
                candidates.size(), " views to read", held_out ? " beside the targets" : "");
  views.context = chosen(views.scene, candidates, count, choice.how, seed);
  if (held_out) return;
  std::set_difference(candidates.begin(), candidates.end(), views.context.begin(),
                      views.context.end(), std::back_inserter(views.targets));
}

Views packed_views(const PackedScenes& data, int64_t scene) {
  Views views;
  views.scene.name = data.name(scene);
  views.scene.files = data.files(scene);
  views.scene.cameras = data.cameras(scene);
  views.scene.world = data.world(scene);
  views.scene.held = data.held(scene);
  const auto images = data.images(scene);
  for (int64_t i = 0; i < images.size(0); ++i) {
    media::Image image(data.width(), data.height());
    std::memcpy(image.pixels.data(), images[i].const_data_ptr<uint8_t>(), image.pixels.size());
    views.scene.images.push_back(std::move(image));
  }
  return views;
}

}  // namespace lact::views
