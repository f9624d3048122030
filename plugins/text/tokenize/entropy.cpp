#include "entropy.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

namespace lact::text {
namespace {

constexpr int64_t kBlock = int64_t{1} << 16;

/// Calls `visit(token, before)` for each token; `before` is -1 at the start of a document.
void for_each_token(const PackedTokens& packed,
                    const std::function<void(int64_t, int64_t)>& visit) {
  int64_t before = -1, document = 0;
  for (int64_t at = 0; at < packed.tokens(); at += kBlock) {
    const auto ids = packed.ids(at, std::min(at + kBlock, packed.tokens()));
    const auto* data = ids.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < ids.numel(); ++i) {
      while (document < packed.documents() && packed.begin(document) <= at + i) {
        before = -1;
        ++document;
      }
      visit(data[i], before);
      before = data[i];
    }
  }
}

uint64_t pair(int64_t before, int64_t token) {
  return static_cast<uint64_t>(before) << 32 | static_cast<uint64_t>(token);
}

/// Sum of c ln c, from which entropies follow.
double weight(int64_t count) {
  const auto c = static_cast<double>(count);
  return count > 0 ? c * std::log(c) : 0;
}

}  // namespace

TokenCounts::TokenCounts(const PackedTokens& packed)
    : counts_(static_cast<size_t>(packed.vocab_size())),
      contexts_(counts_.size()),
      followers_(counts_.size()) {
  for_each_token(packed, [&](int64_t token, int64_t before) {
    ++total_;
    ++counts_[static_cast<size_t>(token)];
    if (before < 0) return;
    ++contexts_[static_cast<size_t>(before)];
    if (++pairs_[pair(before, token)] == 1) ++followers_[static_cast<size_t>(before)];
  });
}

double TokenCounts::unigram_entropy() const {
  if (total_ == 0) return 0;
  double sum = 0;
  for (const int64_t count : counts_) sum += weight(count);
  return std::log(static_cast<double>(total_)) - sum / static_cast<double>(total_);
}

double TokenCounts::bigram_entropy() const {
  double contexts = 0, joint = 0;
  int64_t total = 0;
  for (const int64_t count : contexts_) {
    contexts += weight(count);
    total += count;
  }
  for (const auto& [key, count] : pairs_) joint += weight(count);
  return total == 0 ? 0 : (contexts - joint) / static_cast<double>(total);
}

double TokenCounts::unigram(int64_t id) const {
  return static_cast<double>(counts_[static_cast<size_t>(id)] + 1) /
         static_cast<double>(total_ + static_cast<int64_t>(counts_.size()));
}

double TokenCounts::bigram_loss(const PackedTokens& packed) const {
  double sum = 0;
  int64_t scored = 0;
  for_each_token(packed, [&](int64_t token, int64_t before) {
    if (before < 0) return;
    const auto found = pairs_.find(pair(before, token));
    const double seen = found == pairs_.end() ? 0 : static_cast<double>(found->second);
    const auto kinds = static_cast<double>(followers_[static_cast<size_t>(before)]);
    const auto n = static_cast<double>(contexts_[static_cast<size_t>(before)]);
    const double p = n > 0 ? (seen + kinds * unigram(token)) / (n + kinds) : unigram(token);
    sum -= std::log(p);
    ++scored;
  });
  return scored == 0 ? 0 : sum / static_cast<double>(scored);
}

double TokenCounts::unigram_loss(const PackedTokens& packed) const {
  double sum = 0;
  int64_t scored = 0;
  for_each_token(packed, [&](int64_t token, int64_t before) {
    if (before < 0) return;
    sum -= std::log(unigram(token));
    ++scored;
  });
  return scored == 0 ? 0 : sum / static_cast<double>(scored);
}

}  // namespace lact::text
