// The built-in checks hold here.
#include "support/test.hpp"

#include <lact/verify/golden.hpp>

#include <ATen/Context.h>

#include <set>

using namespace lact;

TEST_CASE("every built-in check of the operator holds", "[golden]") {
  std::set<std::string> names;
  int skipped = 0;
  for (const auto& check : verify::operator_checks()) {
    const auto seen = check.run({test::device(), at::kFloat, {}});
    CAPTURE(check.name, seen.seen, seen.bound);
    names.insert(check.name);
    skipped += !seen.skipped.empty();
    if (seen.skipped.empty()) CHECK(seen.seen <= seen.bound);
  }
  CHECK(names.size() == verify::operator_checks().size());
  CHECK(names.count("gradients are float64 differences: muon_momentum, pre-norm") == 1);
  CHECK(skipped == (at::hasCUDA() ? 0 : 3));
}
