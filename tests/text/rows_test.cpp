#include "support/test.hpp"

#include <plugins/text/train/rows.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

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
    for (int64_t i = 0; i < 9; ++i) begins.push_back(order.at(epoch * 9 + i).begin);
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
  for (int64_t i = 0; i < 300; ++i) want.push_back(forward.at(i).begin);
  for (int64_t i = 0; i < 300; ++i) different.push_back(other.at(i).begin);
  for (const int64_t i : {299, 0, 150, 77, 76, 299})
    CHECK(jumping.at(i).begin == want[static_cast<size_t>(i)]);
  CHECK(want != different);  // another seed, another order
}

TEST_CASE("data shorter than a row is refused with the mend") {
  CHECK_THROWS_WITH(text::RowOrder(1, 63, 64), Catch::Contains("--seq-len"));
}

TEST_CASE("a batch holds the tokens, and the first of a document is nobody's label") {
  const test::TemporaryFolder folder;
  const auto data = pack(folder / "train.safetensors", {30, 5, 65});
  const auto batch = text::make_batch(data, {{10, 42}, {40, 72}}, /*mask_boundaries=*/true);
  const auto ids = batch.at("ids"), labels = batch.at("labels"), documents = batch.at("documents");
  for (int64_t i = 0; i < 32; ++i) {
    CAPTURE(i);
    CHECK(ids[0][i].item<int64_t>() == (10 + i) % 50);
    const bool starts = 10 + i == 30 || 10 + i == 35;
    CHECK(labels[0][i].item<int64_t>() == (starts ? -100 : (10 + i) % 50));
    CHECK(documents[0][i].item<int64_t>() == (10 + i < 30 ? 0 : 10 + i < 35 ? 1 : 2));
    CHECK(labels[1][i].item<int64_t>() == (40 + i) % 50);
  }
  const auto unmasked = text::make_batch(data, {{10, 42}}, /*mask_boundaries=*/false);
  CHECK(test::same_bytes(unmasked.at("labels"), unmasked.at("ids")));
}

TEST_CASE("rows of documents begin with them, and reach into no other") {
  const test::TemporaryFolder folder;
  const auto data = pack(folder / "train.safetensors", {30, 1, 5, 64, 70});
  std::vector<std::pair<int64_t, int64_t>> found;
  for (const auto& [begin, end] : text::document_rows(data, 32)) found.emplace_back(begin, end);
  const std::vector<std::pair<int64_t, int64_t>> want = {
      {0, 30},    {31, 36},   // short ones; nothing can be predicted in one of 1 token
      {36, 68},   {68, 100},  // twice the length
      {100, 132}, {132, 164}, {138, 170}};  // the last goes back to be whole
  CHECK(found == want);

  const auto batch = text::make_batch(data, {{31, 36}, {36, 68}}, /*mask_boundaries=*/true);
  const auto labels = batch.at("labels"), documents = batch.at("documents");
  CHECK(labels.sizes() == at::IntArrayRef({2, 32}));
  CHECK(labels[0].slice(0, 0, 5).equal(data.ids(31, 36)));
  CHECK(labels[0].slice(0, 5).eq(-100).all().item<bool>());
  CHECK(documents[0].slice(0, 5).ne(documents[0][0]).all().item<bool>());
  CHECK(labels[1].equal(data.ids(36, 68)));
}

TEST_CASE("tokens that are not scored are nobody's labels") {
  const test::TemporaryFolder folder;
  const auto file = folder / "train.safetensors";
  text::TokenWriter writer(file, 50, "none", "train");
  writer.begin_document();
  writer.append({3, 4, 5, 6}, {0, 1, 0, 1});
  writer.seal();
  writer.commit();
  const auto data = text::PackedTokens::open(file);
  CHECK(data.scored(1, 3).equal(at::tensor({1, 0}).to(at::kBool)));
  const auto labels = text::make_batch(data, {{0, 4}}, /*mask_boundaries=*/true).at("labels");
  CHECK(labels.equal(at::tensor({-100, 4, -100, 6}, at::kLong).unsqueeze(0)));
}
