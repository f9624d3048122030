#include "support/test.hpp"

#include <plugins/text/train/rows.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>

#include <set>

using namespace lact;

namespace {

/// Documents of these lengths; token t of the pack is t % 50.
text::PackedTokens pack(const std::filesystem::path& file, const std::vector<int64_t>& lengths) {
  text::TokenWriter writer(file, 50, "none", "train");
  int32_t token = 0;
  for (const int64_t length : lengths) {
    writer.begin_document();
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < length; ++i) ids.push_back(token++ % 50);
    writer.append(ids);
  }
  writer.seal();
  writer.commit();
  return text::PackedTokens::open(file);
}

}  // namespace

TEST_CASE("an epoch visits every row once, and the next in another order") {
  text::RowOrder order(7, 10 * 64 + 13, 64);
  CHECK(order.rows() == 9);  // one less leaves room for the offset
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::vector<int64_t> begins;
    for (int64_t i = 0; i < 9; ++i) begins.push_back(order.begin(epoch * 9 + i));
    const std::set<int64_t> distinct(begins.begin(), begins.end());
    CHECK(distinct.size() == 9);
    const int64_t offset = *distinct.begin();
    CHECK(offset >= 0);
    CHECK(*distinct.rbegin() + 64 <= 10 * 64 + 13);
    for (const int64_t begin : begins) CHECK((begin - offset) % 64 == 0);
    epochs.push_back(begins);
  }
  CHECK(epochs[0] != epochs[1]);
}

TEST_CASE("the row at a position does not depend on what was asked before") {
  text::RowOrder forward(3, 5000, 64), jumping(3, 5000, 64), other(4, 5000, 64);
  std::vector<int64_t> want, different;
  for (int64_t i = 0; i < 300; ++i) want.push_back(forward.begin(i));
  for (int64_t i = 0; i < 300; ++i) different.push_back(other.begin(i));
  for (const int64_t i : {299, 0, 150, 77, 76, 299})
    CHECK(jumping.begin(i) == want[static_cast<size_t>(i)]);
  CHECK(want != different);  // another seed, another order
}

TEST_CASE("data shorter than a row is refused with the mend") {
  CHECK_THROWS_WITH(text::RowOrder(1, 63, 64), Catch::Contains("--seq-len"));
}

TEST_CASE("a batch holds the tokens, and the first of a document is nobody's label") {
  const test::TemporaryFolder folder;
  const auto data = pack(folder / "train.safetensors", {30, 5, 65});
  const auto batch = text::make_batch(data, {10, 40}, 32, /*mask_boundaries=*/true);
  const auto ids = batch.at("ids"), labels = batch.at("labels"), documents = batch.at("documents");
  for (int64_t i = 0; i < 32; ++i) {
    CAPTURE(i);
    CHECK(ids[0][i].item<int64_t>() == (10 + i) % 50);
    const bool starts = 10 + i == 30 || 10 + i == 35;
    CHECK(labels[0][i].item<int64_t>() == (starts ? -100 : (10 + i) % 50));
    CHECK(documents[0][i].item<int64_t>() == (10 + i < 30 ? 0 : 10 + i < 35 ? 1 : 2));
    CHECK(labels[1][i].item<int64_t>() == (40 + i) % 50);
  }
  const auto unmasked = text::make_batch(data, {10}, 32, /*mask_boundaries=*/false);
  CHECK(test::same_bytes(unmasked.at("labels"), unmasked.at("ids")));
}
