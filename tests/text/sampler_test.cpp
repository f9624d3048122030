#include "support/test.hpp"

#include <plugins/text/session/sampler.hpp>

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

using namespace lact;
using text::Sampler;
using text::SamplerOptions;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Nothing is cut off and nothing is changed.
SamplerOptions plain() {
  SamplerOptions o;
  o.temp = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  return o;
}

std::vector<float> random_logits(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(count);
  for (auto& one : logits) one = normal(random);
  return logits;
}

std::vector<double> probabilities(const std::vector<float>& logits) {
  std::vector<double> p;
  double sum = 0;
  for (const float x : logits) sum += p.emplace_back(std::exp(static_cast<double>(x)));
  for (auto& one : p) one /= sum;
  return p;
}

std::set<int32_t> kept(const SamplerOptions& options, const std::vector<float>& logits) {
  const Sampler sampler(options, static_cast<int64_t>(logits.size()), 1);
  std::set<int32_t> ids;
  for (const auto& one : sampler.distribution(logits.data())) ids.insert(one.id);
  return ids;
}

/// Sum of p over the tokens that come before `i` by `key`, smallest first.
template <class Key>
double mass_before(const std::vector<double>& p, size_t i, const Key& key) {
  double sum = 0;
  for (size_t j = 0; j < p.size(); ++j)
    if (key(j) < key(i)) sum += p[j];
  return sum;
}

std::vector<int32_t> draw(Sampler& sampler, const std::vector<float>& logits, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(sampler.next(logits.data()));
  return ids;
}

}  // namespace

TEST_CASE("the generator gives the published numbers of SplitMix64") {
  Random random(1234567);  // rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
  CHECK(random.next() == 6457827717110365317u);
  CHECK(random.next() == 3203168211198807973u);
  CHECK(random.next() == 9817491932198370423u);
  Random again(random.state());
  CHECK(again.next() == 4593380528125082431u);
}

TEST_CASE("greedy takes the likeliest token, the first of equals") {
  SamplerOptions options;
  options.temp = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto logits = random_logits(seed, 50);
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    Sampler sampler(options, 50, seed);
    CHECK(sampler.next(logits.data()) == best);
    CHECK(sampler.random().state() == seed);  // nothing was drawn
  }
  const std::vector<float> equal = {0, 3, 3, 1};
  Sampler sampler(options, 4, 1);
  CHECK(sampler.next(equal.data()) == 1);
}

TEST_CASE("of one candidate there is no choice: top-k 1 is greedy at any temperature") {
  auto options = plain();
  options.top_k = 1;
  options.temp = 50;
  const auto logits = random_logits(3, 50);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  Sampler sampler(options, 50, 9);
  for (const int32_t id : draw(sampler, logits, 30)) CHECK(id == best);
}

TEST_CASE("top-k, top-p, min-p and typical keep what their definitions keep") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    const auto logits = random_logits(seed, 12);
    const auto p = probabilities(logits);
    const double best = *std::max_element(p.begin(), p.end());
    double entropy = 0;
    for (const double one : p) entropy -= one * std::log(one);
    const auto rarity = [&](size_t i) { return -p[i]; };
    const auto oddness = [&](size_t i) { return std::abs(-std::log(p[i]) - entropy); };

    std::set<int32_t> top_k, top_p, min_p, typical;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      const auto rarer = [&](double other) { return other > p[i]; };
      if (std::count_if(p.begin(), p.end(), rarer) < 5) top_k.insert(id);
      if (mass_before(p, i, rarity) < 0.7) top_p.insert(id);
      if (p[i] >= 0.2 * best) min_p.insert(id);
      if (mass_before(p, i, oddness) <= 0.6) typical.insert(id);
    }
    auto options = plain();
    CHECK(kept(options, logits).size() == 12);
    options.top_k = 5;
    CHECK(kept(options, logits) == top_k);
    options = plain();
    options.top_p = 0.7;
    CHECK(kept(options, logits) == top_p);
    options = plain();
    options.min_p = 0.2;
    CHECK(kept(options, logits) == min_p);
    options = plain();
    options.typical = 0.6;
    CHECK(kept(options, logits) == typical);
  }
}

TEST_CASE("each filter sees what the one before it left, with probabilities of their own") {
  // p = 0.4 0.3 0.2 0.1; the first two hold 4/7 and 3/7 of what top-k leaves.
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f),
                                     std::log(0.1f)};
  auto options = plain();
  options.top_p = 0.5;
  CHECK(kept(options, logits).size() == 2);  // 0.4 is not enough
  options.top_k = 2;
  CHECK(kept(options, logits).size() == 1);  // 4/7 is
}

TEST_CASE("temperature raises probabilities to its inverse") {
  const auto logits = random_logits(5, 8);
  const auto p = probabilities(logits);
  auto options = plain();
  options.temp = 0.5;
  double sum = 0;
  for (const double one : p) sum += one * one;
  const Sampler sampler(options, 8, 1);
  for (const auto& one : sampler.distribution(logits.data()))
    CHECK(one.p == Approx(p[static_cast<size_t>(one.id)] * p[static_cast<size_t>(one.id)] / sum));
}

TEST_CASE("the penalty divides positive and multiplies negative logits of the last tokens") {
  const std::vector<float> logits = {2, -1, 2, 0};
  auto options = plain();
  options.repeat_penalty = 2;
  options.repeat_last_n = 2;
  Sampler sampler(options, 4, 1);
  for (const int32_t id : {2, 0, 1}) sampler.accept(id);  // 2 is out of reach
  const auto want = probabilities({1, -2, 2, 0});
  for (const auto& one : sampler.distribution(logits.data()))
    CHECK(one.p == Approx(want[static_cast<size_t>(one.id)]));

  options.repeat_last_n = -1;  // everything that ever came
  Sampler all(options, 4, 1);
  for (const int32_t id : {2, 0, 1}) all.accept(id);
  const auto want_all = probabilities({1, -2, 1, 0});
  for (const auto& one : all.distribution(logits.data()))
    CHECK(one.p == Approx(want_all[static_cast<size_t>(one.id)]));
}

TEST_CASE("the history forgets beyond its reach and comes back from a state as it was") {
  text::History history(5000, 1500);
  std::mt19937_64 random(1);
  std::vector<int32_t> all;
  for (int i = 0; i < 4000; ++i) {
    all.push_back(static_cast<int32_t>(random() % 5000));
    history.add(all.back());
  }
  const std::vector<int32_t> want(all.end() - 1500, all.end());
  CHECK(history.recent() == want);
  text::History again(5000, 1500);
  again.restore(history.recent(), history.ever());
  for (const int64_t n : {0, 1, 64, 1500, -1}) {
    CAPTURE(n);
    CHECK(again.seen(n) == history.seen(n));
    const std::set<int32_t> last(n < 0 ? all.begin() : all.end() - n, all.end());
    const auto marks = history.seen(n);
    CHECK(static_cast<size_t>(std::count(marks.begin(), marks.end(), 1)) == last.size());
    for (const int32_t id : last) CHECK(marks[static_cast<size_t>(id)] == 1);
  }
  again.add(7);
  CHECK(again.recent().back() == 7);
  CHECK(again.recent().size() == 1500);
  CHECK_THROWS_AS(again.restore({5000}, history.ever()), Error);
  CHECK_THROWS_AS(again.restore({1}, {0, 1}), Error);
}

TEST_CASE("a token biased to minus infinity is never drawn, one to plus infinity always") {
  const std::vector<float> logits = {1, 5, 1, 1};
  auto options = plain();
  options.logit_bias = {{1, -kInfinity}};
  Sampler never(options, 4, 1);
  for (const int32_t id : draw(never, logits, 200)) CHECK(id != 1);
  options = SamplerOptions();
  options.typical = 0.5;
  options.logit_bias = {{2, kInfinity}};
  Sampler always(options, 4, 1);
  for (const int32_t id : draw(always, logits, 20)) CHECK(id == 2);
  options.logit_bias = {{0, -kInfinity}, {1, -kInfinity}, {2, -kInfinity}, {3, -kInfinity}};
  Sampler nothing(options, 4, 1);
  CHECK_THROWS_WITH(nothing.next(logits.data()), Catch::Contains("ruled out"));
  options.logit_bias = {{4, 1}};
  CHECK_THROWS_WITH(Sampler(options, 4, 1), Catch::Contains("token 4"));
}

TEST_CASE("the same seed draws the same tokens, another seed others") {
  const auto logits = random_logits(8, 100);
  Sampler a(plain(), 100, 42), b(plain(), 100, 42), c(plain(), 100, 43);
  const auto want = draw(a, logits, 50);
  CHECK(draw(b, logits, 50) == want);
  CHECK(draw(c, logits, 50) != want);
}

TEST_CASE("tokens come as often as they are likely") {
  const std::vector<float> logits = random_logits(11, 6);
  const auto p = probabilities(logits);
  Sampler sampler(plain(), 6, 2026);
  constexpr int kDraws = 100000;
  std::map<int32_t, int> counts;
  for (const int32_t id : draw(sampler, logits, kDraws)) ++counts[id];
  // A count of n draws has the deviation sqrt(n p (1 - p)); five of them are exceeded by chance
  // once in 1.7 million.
  for (int32_t id = 0; id < 6; ++id) {
    const double q = p[static_cast<size_t>(id)];
    CHECK(std::abs(counts[id] - kDraws * q) < 5 * std::sqrt(kDraws * q * (1 - q)));
  }
}

TEST_CASE("logits that are not numbers are refused") {
  const std::vector<float> logits = {1, NAN, 1};
  SamplerOptions options;
  options.temp = GENERATE(0.0, 1.0);
  Sampler sampler(options, 3, 1);
  CHECK_THROWS_WITH(sampler.next(logits.data()), Catch::Contains("not numbers"));
}

TEST_CASE("a bias is a token and a signed number") {
  CHECK(text::parse_logit_bias("15043+1") == std::make_pair(int64_t{15043}, 1.0));
  CHECK(text::parse_logit_bias("2-0.5") == std::make_pair(int64_t{2}, -0.5));
  CHECK(text::parse_logit_bias("7-inf").second == -kInfinity);
  for (const char* bad : {"", "+1", "5", "a+1", "5+", "5+x", "5+1x", "5+nan", "-3+1", "5 +1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(text::parse_logit_bias(bad), Error);
  }
}
