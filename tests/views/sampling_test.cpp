#include "small_scenes.hpp"
#include "support/test.hpp"

#include <plugins/views/render/input_options.hpp>
#include <plugins/views/train/sampling.hpp>

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <set>

using namespace lact;
using namespace lact::views;

namespace {

Views views_of(int64_t count) {
  Views views;
  views.scene = test::small_scene(1, count, 8);
  return views;
}

std::set<int64_t> set_of(const std::vector<int64_t>& all) {
  return {all.begin(), all.end()};
}

}  // namespace

TEST_CASE("every epoch shows each scene once, in an order of its own") {
  EpochOrder order(5, 7);
  std::vector<int64_t> first, second;
  for (int64_t i = 0; i < 7; ++i) first.push_back(order.at(i));
  for (int64_t i = 7; i < 14; ++i) second.push_back(order.at(i));
  CHECK(set_of(first).size() == 7);
  CHECK(set_of(second).size() == 7);
  CHECK(first != second);
  EpochOrder again(5, 7);
  CHECK(again.at(9) == second[2]);  // whatever was asked before
  CHECK(again.at(2) == first[2]);
}

TEST_CASE("context are the first and targets the last of the views drawn, without repeats") {
  Sampling how;  // 15 views, 8 and 8: one view is both
  for (int64_t position = 0; position < 50; ++position) {
    const auto one = draw(how, 8, 0, 40, 3, position);
    auto all = set_of(one.context);
    CHECK(all.size() == 8);
    CHECK(set_of(one.targets).size() == 8);
    CHECK(one.context.back() == one.targets.front());
    all.insert(one.targets.begin(), one.targets.end());
    CHECK(all.size() == 15);
    CHECK(*all.rbegin() < 40);
  }
  CHECK(draw(how, 8, 0, 40, 3, 7).context == draw(how, 8, 0, 40, 3, 7).context);
  CHECK(draw(how, 8, 0, 40, 3, 7).context != draw(how, 8, 0, 40, 4, 7).context);
  CHECK(draw(how, 8, 0, 40, 3, 7).context != draw(how, 8, 0, 40, 3, 8).context);
}

TEST_CASE("the number of context of a step covers its range, and is the same again") {
  Sampling how;
  how.context = 6;
  CHECK(context_count(how, 1, 9) == 6);
  how.min_context = 3;
  std::set<int64_t> seen;
  for (int64_t step = 0; step < 100; ++step) {
    seen.insert(context_count(how, 1, step));
    CHECK(context_count(how, 1, step) == context_count(how, 1, step));
  }
  CHECK(seen == std::set<int64_t>{3, 4, 5, 6});
}

TEST_CASE("a batch holds the views that were drawn, as they are packed") {
  test::TemporaryFolder folder;
  test::write_packed(folder.path(), 2, 0, 6, 8);
  const auto data = PackedScenes::open(folder.path());
  const auto batch = make_batch(data, {{1, {4, 0}, {5}, {}}, {0, {2, 3}, {1}, {}}}, "none");
  CHECK(batch.at("images").sizes() == at::IntArrayRef({2, 2, 8, 8, 3}));
  CHECK(test::same_bytes(batch.at("images")[0][0], data.images(1)[4]));
  CHECK(test::same_bytes(batch.at("target_images")[1][0], data.images(0)[1]));
  const auto expected = data.cameras(0)[3].position();
  for (int r = 0; r < 3; ++r)
    CHECK(batch.at("poses")[1][1][r][3].item<float>() ==
          Approx(expected[static_cast<size_t>(r)]).margin(1e-6));
}

TEST_CASE("normalised, the largest coordinate of those that count is 1") {
  test::TemporaryFolder folder;
  test::write_packed(folder.path(), 1, 0, 6, 8);
  const auto data = PackedScenes::open(folder.path());
  const auto largest = [&](const train::Batch& batch, const char* name) {
    return batch.at(name).slice(-1, 3).slice(-2, 0, 3).abs().max().item<float>();
  };
  const Draw row{0, {0, 1, 2}, {3, 4, 5}, {0, 1, 2, 3, 4, 5}};
  const auto all = make_batch(data, {row}, "all"), context = make_batch(data, {row}, "context");
  CHECK(std::max(largest(all, "poses"), largest(all, "target_poses")) == Approx(1));
  CHECK(largest(context, "poses") == Approx(1));
  CHECK(largest(context, "target_poses") != Approx(1));
}

TEST_CASE("a scene with fewer views than a step takes is refused by its name") {
  test::TemporaryFolder folder;
  test::write_packed(folder.path(), 1, 0, 6, 8);
  const auto data = PackedScenes::open(folder.path());
  CHECK_THROWS_WITH(check(data, {}, "data"), Catch::Contains("data: scene ball-1 has 6 views"));
  CHECK_NOTHROW(check(data, {15, 6, 0, 3, "none"}, "data"));
}

TEST_CASE("views that are held out are not read, and what is not read is held out") {
  auto views = views_of(20);
  choose(views, {4, 5, "kmeans"}, 1);
  CHECK(views.targets == std::vector<int64_t>{0, 5, 10, 15});
  CHECK(set_of(views.context).size() == 4);
  for (const auto one : views.context) CHECK(one % 5 != 0);
  choose(views, {3, 0, "even"}, 1);
  CHECK(views.context == std::vector<int64_t>{0, 6, 13});
  CHECK(views.targets.size() == 17);
  choose(views, {std::nullopt, 0, "kmeans"}, 1);
  CHECK(views.context.size() == 20);
  CHECK(views.targets.empty());
  CHECK_THROWS_WITH(choose(views, {18, 5, "first"}, 1),
                    Catch::Contains("--context-views 18") && Catch::Contains("16 views to read"));
}

TEST_CASE("sizes and paths are read as they are written, and refused by name") {
  CHECK(parse_size("64", "--size") == std::pair<int64_t, int64_t>{64, 64});
  CHECK(parse_size("320x240", "--size") == std::pair<int64_t, int64_t>{320, 240});
  for (const char* wrong : {"", "x", "0", "64x", "-4", "64x64x64", "1e3", "99999"})
    CHECK_THROWS_WITH(parse_size(wrong, "--size"),
                      Catch::StartsWith("--size " + std::string(wrong)));
  CHECK(split_path("turntable:12").second == 12);
  CHECK(!split_path("spiral").second);
  CHECK(split_path("folder/camera_path.json").first == "folder/camera_path.json");
  for (const char* wrong : {"turntabel", "turntable:x", "spiral:-1", "dataset:3"})
    CHECK_THROWS_WITH(split_path(wrong), Catch::StartsWith("--path " + std::string(wrong)));
}
