#pragma once
// From logits to the next token: llama.cpp's samplers by name, meaning and order.

#include <lact/random.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lact::text {

/// Names, meanings and defaults of llama.cpp.
struct SamplerOptions {
  double temp = 0.8;            ///< divides the logits; <= 0: the likeliest token (greedy)
  int64_t top_k = 40;           ///< keep the top_k likeliest; <= 0: all
  double top_p = 0.95;          ///< keep the likeliest until they hold this much; >= 1: all
  double min_p = 0.05;          ///< keep what has this part of the likeliest's probability; 0: all
  double typical = 1.0;         ///< keep what is nearest to the expected surprise; >= 1: all
  double repeat_penalty = 1.0;  ///< divides positive and multiplies negative logits of seen tokens
  int64_t repeat_last_n =
      64;  ///< penalize tokens among the last N; 0: off, -1: since the beginning
  std::vector<std::pair<int64_t, double>> logit_bias;  ///< added first; -inf: never
};

/// "ID+BIAS" or "ID-BIAS"; BIAS may be "inf". Errors: 64 naming the text.
std::pair<int64_t, double> parse_logit_bias(const std::string& text);

/// A token and what became of its logit; `p` is set where probabilities are.
struct Candidate {
  int32_t id = 0;
  double logit = 0;
  double p = 0;
};

/// The tokens read and written so far, as the penalty needs them: constant memory.
class History {
 public:
  /// The tokens of one recent() are at most `reach`.
  History(int64_t vocab_size, int64_t reach);
  void add(int32_t id);
  /// 1 for every token among the last `n` (-1: all that ever came), 0 for the others.
  std::vector<uint8_t> seen(int64_t n) const;

  /// For a state: the last tokens, oldest first, and a 1 for every token that ever came.
  std::vector<int32_t> recent() const;
  const std::vector<uint8_t>& ever() const { return ever_; }
  /// Errors   65 if an id is not below the vocabulary's size, or `ever` has another length
  void restore(const std::vector<int32_t>& recent, const std::vector<uint8_t>& ever);

 private:
  std::vector<uint8_t> ever_;
  std::vector<int32_t> ring_;
  size_t reach_, next_ = 0;
};

class Sampler {
 public:
  /// Errors   64 if a biased id is not below vocab_size
  Sampler(const SamplerOptions& options, int64_t vocab_size, uint64_t seed);

  /// What next() draws from: likeliest first, probabilities that sum to 1. With temp <= 0 one.
  /// Errors   65 if a logit is not a number, 64 if nothing is left to choose
  std::vector<Candidate> distribution(const float* logits) const;
  /// Draws once (not at all with temp <= 0).
  int32_t next(const float* logits);
  /// `id` was read or written.
  void accept(int32_t id) { history_.add(id); }

  void set_temperature(double temp) { options_.temp = temp; }
  Random& random() { return random_; }
  const Random& random() const { return random_; }
  History& history() { return history_; }
  const History& history() const { return history_; }

 private:
  std::vector<Candidate> weigh(const float* logits) const;

  SamplerOptions options_;
  int64_t vocab_size_;
  Random random_;
  History history_;
};

}  // namespace lact::text
