#pragma once
// What counting alone predicts of a sequence of tokens: the bar a model has to pass.

#include <plugins/text/packed/packed_tokens.hpp>

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace lact::text {

/// Counts of tokens and of pairs within documents. Memory: the vocabulary, and the pairs that
/// occur.
class TokenCounts {
 public:
  explicit TokenCounts(const PackedTokens& packed);

  /// Entropy of a token in nats, by frequency: what a model that ignores context reaches at best.
  double unigram_entropy() const;
  /// Entropy of a token given the one before it, in nats. (Of the same tokens: with few of them it
  /// is far below what bigrams can predict of others.)
  double bigram_entropy() const;

  /// Mean of -ln p over the tokens of `packed` that have one before them in their document, with
  /// probabilities from these counts. Bigrams are smoothed after Witten and Bell (1991): a context
  /// with n followers of t kinds leaves t / (n + t) to the unigram distribution, which adds one to
  /// every count.
  double bigram_loss(const PackedTokens& packed) const;
  /// The same with the unigram distribution alone.
  double unigram_loss(const PackedTokens& packed) const;

 private:
  double unigram(int64_t id) const;

  int64_t total_ = 0;
  std::vector<int64_t> counts_;     // of each token
  std::vector<int64_t> contexts_;   // how often it has a follower
  std::vector<int64_t> followers_;  // of how many kinds
  std::unordered_map<uint64_t, int64_t> pairs_;
};

}  // namespace lact::text
