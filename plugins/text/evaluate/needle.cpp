#include "needle.hpp"

#include <plugins/text/packed/packed_tokens.hpp>
#include <plugins/text/session/text_reader.hpp>

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace lact::text {
namespace {

constexpr size_t kMostTokens = size_t{1} << 20;  // of the text: enough to begin in many places
constexpr size_t kWords = 1000, kLeastWords = 40;
constexpr std::string_view kSpace = "\u2581";  // how a piece says that a word begins

bool is_word(const std::string& piece) {
  if (piece.size() < kSpace.size() + 3 || piece.compare(0, kSpace.size(), kSpace) != 0)
    return false;
  return std::all_of(piece.begin() + kSpace.size(), piece.end(),
                     [](char c) { return c >= 'a' && c <= 'z'; });
}

std::vector<int32_t> read_tokens(const LoadedModel& loaded, const std::filesystem::path& file,
                                 size_t count) {
  if (file.extension() != ".safetensors")
    return TextReader::from_file(loaded.tokenizer, file, /*continued=*/false).next(count);
  const auto packed = PackedTokens::open(file);
  packed.require_tokenizer(loaded.tokenizer.hash(), file);
  const auto ids = packed.ids(0, std::min(packed.tokens(), static_cast<int64_t>(count)));
  const auto* data = ids.const_data_ptr<int64_t>();
  return {data, data + ids.numel()};
}

int64_t draw(Random& random, size_t count) {
  return random.below(static_cast<int64_t>(count));
}

}  // namespace

Haystack::Haystack(const LoadedModel& loaded, const std::filesystem::path& file, int64_t least)
    : loaded_(&loaded),
      ids_(read_tokens(loaded, file,
                       kMostTokens + static_cast<size_t>(std::max<int64_t>(0, least)))) {
  if (cli::stop_requested()) throw cli::Interrupted();
  if (static_cast<int64_t>(ids_.size()) < least)
    throw Error(Exit::data, file.string(), ": ", ids_.size(), " tokens are too few for ", least);
  find_words();
  if (words_.size() < kLeastWords)
    throw Error(Exit::data, file.string(), ": only ", words_.size(),
                " words in it are one token each; needles need ", kLeastWords);
}

/// The most frequent first; of equally frequent ones the smaller id.
void Haystack::find_words() {
  std::map<int32_t, int64_t> counts;
  for (const int32_t id : ids_) ++counts[id];
  std::vector<std::pair<int64_t, int32_t>> found;
  for (const auto& [id, count] : counts) {
    if (id >= loaded_->tokenizer.vocab_size() || !is_word(loaded_->tokenizer.piece(id))) continue;
    if (encode(" " + word(id)) == std::vector<int32_t>{id}) found.emplace_back(-count, id);
  }
  std::sort(found.begin(), found.end());
  if (found.size() > kWords) found.resize(kWords);
  for (const auto& [count, id] : found) words_.push_back(id);
}

std::vector<int32_t> Haystack::encode(const std::string& text) const {
  return loaded_->tokenizer.encode(text, /*continued=*/true);
}

std::string Haystack::word(int32_t id) const {
  return loaded_->tokenizer.piece(id).substr(kSpace.size());
}

/// The first end of a sentence in [from, to), `from` if there is none.
size_t Haystack::sentence_end(size_t from, size_t to) const {
  for (size_t i = from; i < to; ++i)
    if (ids_[i] < loaded_->tokenizer.vocab_size() &&
        loaded_->tokenizer.piece(ids_[i]).ends_with('.'))
      return i + 1;
  return from;
}

Haystack::Trial Haystack::trial(int64_t length, double depth, int64_t candidates,
                                uint64_t seed) const {
  Random random(seed);
  auto pool = words_;
  const auto take = [&] {
    const auto at = pool.begin() + draw(random, pool.size());
    const int32_t id = *at;
    pool.erase(at);
    return id;
  };
  Trial made;
  const auto question = encode(" The secret word of " + word(take()) + " is");
  for (int64_t i = 0; i < candidates; ++i) made.candidates.push_back(take());
  auto needle = question;
  needle.push_back(made.candidates[0]);
  for (const int32_t id : encode(".")) needle.push_back(id);

  if (const auto bos = loaded_->bos()) made.ids.push_back(*bos);
  made.question = made.ids;
  made.question.insert(made.question.end(), question.begin(), question.end());
  const auto fixed = static_cast<int64_t>(made.ids.size() + needle.size() + question.size());
  if (fixed > length)
    throw Error(Exit::usage, "--needle-length ", length, ": needle and question alone take ", fixed,
                " tokens");
  const auto hay = static_cast<size_t>(length - fixed);
  const auto from = static_cast<size_t>(draw(random, ids_.size() - hay + 1));
  const auto asked = from + static_cast<size_t>(std::llround(depth * static_cast<double>(hay)));
  constexpr size_t kNear = 64;
  const auto at = sentence_end(asked, std::min(asked + kNear, from + hay));
  const auto add = [&](const auto& begin, const auto& end) {
    made.ids.insert(made.ids.end(), begin, end);
  };
  const auto begin = ids_.begin() + static_cast<ptrdiff_t>(from);
  const auto split = ids_.begin() + static_cast<ptrdiff_t>(at);
  add(begin, split);
  add(needle.begin(), needle.end());
  add(split, begin + static_cast<ptrdiff_t>(hay));
  add(question.begin(), question.end());
  return made;
}

/// Of what comes after the ids.
std::vector<double> Haystack::logprobs(const std::vector<int32_t>& ids, int64_t group) const {
  Session session(*loaded_, {}, /*seed=*/0);
  for (size_t at = 0; at < ids.size();) {
    if (cli::stop_requested()) throw cli::Interrupted();
    const auto count = std::min(ids.size() - at, static_cast<size_t>(group));
    const auto first = ids.begin() + static_cast<ptrdiff_t>(at);
    session.read({first, first + static_cast<ptrdiff_t>(count)});
    at += count;
  }
  return session.logprobs();
}

NeedleScore Haystack::retrieve(int64_t length, double depth, int64_t i,
                               const NeedleOptions& options) const {
  if (options.candidates + 1 > static_cast<int64_t>(words_.size()))
    throw Error(Exit::usage, "--candidates ", options.candidates, ": the text has ", words_.size(),
                " words for them");
  const auto one =
      trial(length, depth, options.candidates, options.seed + static_cast<uint64_t>(i));
  const auto before = logprobs(one.question, options.group);
  const auto after = logprobs(one.ids, options.group);
  std::vector<double> gains;
  for (const int32_t id : one.candidates)
    gains.push_back(after.at(static_cast<size_t>(id)) - before.at(static_cast<size_t>(id)));
  const double answer = gains[0];
  const auto better =
      std::count_if(gains.begin(), gains.end(), [answer](double other) { return other > answer; });
  const double sum = std::accumulate(gains.begin(), gains.end(), 0.0);
  const double logprob = after[static_cast<size_t>(one.candidates[0])];
  NeedleScore score;
  score.trials = 1;
  score.logprob = logprob;
  score.gain = answer - (sum - answer) / static_cast<double>(gains.size() - 1);
  score.ranks = 1 + better;
  score.first = better == 0;
  score.exact = logprob >= *std::max_element(after.begin(), after.end());
  return score;
}

}  // namespace lact::text
