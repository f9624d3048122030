#pragma once
// Which tokens apply the fast weights, and which update them when, as data. Source: spec/llm 4.

#include <cstdint>
#include <vector>

namespace lact::ops {

/// One operation on the tokens [begin, end). Negative numbers mean tokens carried over from before:
/// -1 is the last of them.
struct Step {
  enum class Kind { apply, update };
  Kind kind;
  int64_t begin, end;
  bool operator==(const Step&) const = default;
};

struct Schedule {
  std::vector<Step> steps;
  /// Tokens from here on stay in the open chunk for a later call; `length` if none do.
  int64_t carry_from = 0;
  /// Tokens the open chunk can grow to (0: nothing is carried).
  int64_t chunk = 0;
};

/// Text: per chunk apply, then update; the last chunk makes no update.
Schedule shifted_block_causal(int64_t length, int64_t chunk);
/// The same for `length` tokens that follow `carried` tokens of an unfinished chunk: a chunk
/// updates as soon as it is full, the rest is carried on.
Schedule shifted_block_causal_stream(int64_t carried, int64_t length, int64_t chunk);
/// Sets: update on all, then apply to all.
Schedule bidirectional(int64_t length);
/// Per chunk: update, then apply.
Schedule chunk_causal(int64_t length, int64_t chunk);
/// Apply `first` tokens; then per period: update on its first `updated` tokens, apply to all of it.
Schedule strided(int64_t length, int64_t first, int64_t period, int64_t updated);

}  // namespace lact::ops
