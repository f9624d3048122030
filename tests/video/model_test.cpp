#include "support/golden.hpp"
#include "support/test.hpp"

#include <plugins/video/golden.hpp>
#include <plugins/video/model.hpp>

using namespace lact;
using namespace lact::video;
using at::Tensor;
using test::count_kind;
using test::tensors_with;
using verify::Verdict;

TEST_CASE("positions, masks, layers, the model and its films match the golden values, every tensor",
          "[golden]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto results = test::replay_golden("video", model_kinds(), dtype);
  CHECK(tensors_with(Verdict::fail, results) == "");
  CHECK(tensors_with(Verdict::skipped, results) == "");
  CHECK(count_kind(results, "rope3d") == 1);
  CHECK(count_kind(results, "window_masks") == 1);
  CHECK(count_kind(results, "ar_layer") == 2);
  CHECK(count_kind(results, "dit_train") == 1);
  CHECK(count_kind(results, "inference") == 1);
  CHECK(count_kind(results, "wan_transformer") == 1);
}

TEST_CASE("every check of the model holds", "[model]") {
  for (const auto& check : model_checks()) {
    CAPTURE(check.name);
    const auto seen = check.run({});
    CHECK(seen.seen <= seen.bound);
  }
}
