#pragma once
// Needle retrieval: a sentence hidden in other text, and a question at the end that only it
// answers.

#include <plugins/text/session/session.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace lact::text {

struct NeedleOptions {
  int64_t trials = 20;      ///< at each length and depth, each with another needle and another text
  int64_t candidates = 10;  ///< words that the answer is ranked among, itself included
  int64_t group = 512;      ///< tokens read at a time
  uint64_t seed = 1;        ///< of the first; the same needles and text at every depth
};

/// What a model found at one length and depth.
struct NeedleScore {
  int64_t trials = 0;
  double logprob = 0;  ///< of the answers, summed
  double gain = 0;     ///< of the answers over the other candidates, in nats, summed
  int64_t first = 0;   ///< answers that gained more than all other candidates
  int64_t exact = 0;   ///< answers likelier than all other tokens: greedy decoding writes them
  int64_t ranks = 0;   ///< of the answers among the candidates, 1 the best, summed

  void add(const NeedleScore& more) {
    trials += more.trials;
    logprob += more.logprob;
    gain += more.gain;
    first += more.first;
    exact += more.exact;
    ranks += more.ranks;
  }
};

/// Text to hide needles in, and the words they are made of.
///
/// A needle is "The secret word of KEY is ANSWER.", the question "The secret word of KEY is". Both
/// words are drawn from those that are frequent in the text and one token each, so that a small
/// model knows them and candidates are equally long; the answer is one of the candidates at random,
/// so that a model that found nothing is right as often as chance. Candidates are compared by what
/// the text adds to their log-probability after the question alone: which words a model prefers
/// anyway, and a small one has little else, says nothing.
class Haystack {
 public:
  /// The first tokens of a text or of packed data, at most `limit`.
  /// Errors   66, 65 if there are fewer tokens than `least`, or no 40 words
  Haystack(const LoadedModel& loaded, const std::filesystem::path& file, int64_t least);

  /// `length` counts everything: BOS, text, needle, question. Depth 0: the needle comes first; 1:
  /// just before the question. Of trial number `i`, from 0.
  /// Errors   64 if the length has no room, cli::Interrupted
  NeedleScore retrieve(int64_t length, double depth, int64_t i, const NeedleOptions& options) const;

  struct Trial {
    std::vector<int32_t> question;    ///< alone, after BOS
    std::vector<int32_t> ids;         ///< text, needle and question
    std::vector<int32_t> candidates;  ///< the first is the answer
  };
  Trial trial(int64_t length, double depth, int64_t candidates, uint64_t seed) const;

 private:
  std::vector<double> logprobs(const std::vector<int32_t>& ids, int64_t group) const;
  void find_words();
  std::vector<int32_t> encode(const std::string& text) const;
  std::string word(int32_t id) const;
  size_t sentence_end(size_t from, size_t to) const;

  const LoadedModel* loaded_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> words_;
};

}  // namespace lact::text
