#include "sampler.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>

namespace lact::text {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// States keep at least this many tokens, so that a continuation may look further back.
constexpr int64_t kLeastReach = 1024;

/// Likeliest first; among equals the smaller id, so that the order is one.
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void keep_top_k(std::vector<Candidate>& all, int64_t k) {
  const auto count = static_cast<int64_t>(all.size());
  if (k <= 0 || k >= count) {
    std::sort(all.begin(), all.end(), before);
    return;
  }
  std::nth_element(all.begin(), all.begin() + k, all.end(), before);
  all.resize(static_cast<size_t>(k));
  std::sort(all.begin(), all.end(), before);
}

/// Sets every p from the logits; likeliest first.
void softmax(std::vector<Candidate>& all) {
  double sum = 0;
  for (auto& one : all) sum += one.p = std::exp(one.logit - all.front().logit);
  for (auto& one : all) one.p /= sum;
}

/// Source: arXiv:2202.00666. Keeps the tokens whose surprise is nearest to the entropy, until they
/// hold more than `mass`.
void keep_typical(std::vector<Candidate>& all, double mass) {
  if (mass >= 1) return;
  softmax(all);
  double entropy = 0;
  for (const auto& one : all)
    if (one.p > 0) entropy -= one.p * std::log(one.p);
  const auto distance = [entropy](const Candidate& one) {
    return one.p > 0 ? std::abs(-std::log(one.p) - entropy) : kInfinity;
  };
  std::stable_sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
    return distance(a) < distance(b);
  });
  double sum = 0;
  size_t count = 0;
  while (count < all.size() && sum <= mass) sum += all[count++].p;
  all.resize(count);
  std::sort(all.begin(), all.end(), before);
}

/// Source: arXiv:1904.09751.
void keep_top_p(std::vector<Candidate>& all, double mass) {
  if (mass >= 1) return;
  softmax(all);
  double sum = 0;
  size_t count = 0;
  while (count < all.size() && (count == 0 || sum < mass)) sum += all[count++].p;
  all.resize(count);
}

/// Source: arXiv:2407.01082.
void keep_min_p(std::vector<Candidate>& all, double part) {
  if (part <= 0) return;
  const double least = all.front().logit + std::log(std::min(part, 1.0));
  while (all.size() > 1 && all.back().logit < least) all.pop_back();
}

}  // namespace

std::pair<int64_t, double> parse_logit_bias(const std::string& text) {
  const auto sign = text.find_first_of("+-");
  const bool digits = sign != std::string::npos && sign > 0 && sign < 10 &&
                      text.find_first_not_of("0123456789") == sign;
  char* end = nullptr;
  const double bias = digits ? std::strtod(text.c_str() + sign, &end) : 0;
  if (!digits || end == text.c_str() + sign || *end != '\0' || std::isnan(bias))
    throw Error(Exit::usage, "--logit-bias: expected ID+BIAS or ID-BIAS, found '", text, "'");
  return {std::stoll(text.substr(0, sign)), bias};
}

// --- history -------------------------------------------------------------------------------------

History::History(int64_t vocab_size, int64_t reach)
    : ever_(static_cast<size_t>(vocab_size)),
      reach_(static_cast<size_t>(std::max(reach, kLeastReach))) {}

void History::add(int32_t id) {
  ever_.at(static_cast<size_t>(id)) = 1;
  if (ring_.size() < reach_) {
    ring_.push_back(id);
    return;
  }
  ring_[next_] = id;
  next_ = (next_ + 1) % reach_;
}

std::vector<int32_t> History::recent() const {
  std::vector<int32_t> ids(ring_.begin() + static_cast<ptrdiff_t>(next_), ring_.end());
  ids.insert(ids.end(), ring_.begin(), ring_.begin() + static_cast<ptrdiff_t>(next_));
  return ids;
}

std::vector<uint8_t> History::seen(int64_t n) const {
  if (n < 0) return ever_;
  std::vector<uint8_t> marks(ever_.size());
  const size_t held = ring_.size(), count = std::min(held, static_cast<size_t>(n));
  for (size_t i = 0; i < count; ++i)
    marks[static_cast<size_t>(ring_[(next_ + held - 1 - i) % held])] = 1;
  return marks;
}

void History::restore(const std::vector<int32_t>& recent, const std::vector<uint8_t>& ever) {
  if (ever.size() != ever_.size())
    throw Error(Exit::data, "history: expected ", ever_.size(), " tokens, found ", ever.size());
  for (const int32_t id : recent)
    if (id < 0 || static_cast<size_t>(id) >= ever_.size())
      throw Error(Exit::data, "history: token ", id, " is not one of ", ever_.size());
  ring_.assign(recent.end() - static_cast<ptrdiff_t>(std::min(recent.size(), reach_)),
               recent.end());
  next_ = 0;
  ever_ = ever;
}

// --- sampler -------------------------------------------------------------------------------------

Sampler::Sampler(const SamplerOptions& options, int64_t vocab_size, uint64_t seed)
    : options_(options),
      vocab_size_(vocab_size),
      random_(seed),
      history_(vocab_size, options.repeat_last_n) {
  for (const auto& [id, bias] : options.logit_bias)
    if (id < 0 || id >= vocab_size)
      throw Error(Exit::usage, "--logit-bias: token ", id, " is not one of the ", vocab_size,
                  " of the model");
}

/// Bias and penalty, which see every token.
std::vector<Candidate> Sampler::weigh(const float* logits) const {
  std::vector<Candidate> all(static_cast<size_t>(vocab_size_));
  for (size_t i = 0; i < all.size(); ++i) {
    if (std::isnan(logits[i]))
      throw Error(Exit::data,
                  "the model's logits are not numbers: its parameters are damaged, or "
                  "it did not learn stably");
    all[i] = {static_cast<int32_t>(i), logits[i]};
  }
  for (const auto& [id, bias] : options_.logit_bias) all[static_cast<size_t>(id)].logit += bias;
  if (options_.repeat_penalty != 1 && options_.repeat_last_n != 0) {
    const auto seen = history_.seen(options_.repeat_last_n);
    for (size_t i = 0; i < all.size(); ++i)
      if (seen[i] != 0)
        all[i].logit *= all[i].logit > 0 ? 1 / options_.repeat_penalty : options_.repeat_penalty;
  }
  const auto impossible = [](const Candidate& one) { return !(one.logit > -kInfinity); };
  all.erase(std::remove_if(all.begin(), all.end(), impossible), all.end());
  if (all.empty()) throw Error(Exit::usage, "every token is ruled out; see --logit-bias");
  const auto certain = [](const Candidate& one) { return one.logit == kInfinity; };
  if (std::any_of(all.begin(), all.end(), certain)) {
    all.erase(std::remove_if(all.begin(), all.end(), std::not_fn(certain)), all.end());
    for (auto& one : all) one.logit = 0;
  }
  return all;
}

std::vector<Candidate> Sampler::distribution(const float* logits) const {
  auto all = weigh(logits);
  if (options_.temp <= 0) {
    keep_top_k(all, 1);
    all[0].p = 1;
    return all;
  }
  keep_top_k(all, options_.top_k);
  keep_typical(all, options_.typical);
  keep_top_p(all, options_.top_p);
  keep_min_p(all, options_.min_p);
  const double best = all.front().logit;
  for (auto& one : all) one.logit = (one.logit - best) / options_.temp;
  softmax(all);
  return all;
}

int32_t Sampler::next(const float* logits) {
  const auto all = distribution(logits);
  if (options_.temp <= 0) return all.front().id;
  double left = random_.uniform();
  for (const auto& one : all) {
    left -= one.p;
    if (left < 0) return one.id;
  }
  return all.front().id;  // the probabilities' sum was rounded below 1
}

}  // namespace lact::text
