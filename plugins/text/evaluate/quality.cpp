#include "quality.hpp"

#include "score.hpp"

#include <plugins/text/packed/packed_tokens.hpp>
#include <plugins/text/session/text_reader.hpp>

#include <lact/error.hpp>

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

namespace lact::text {
namespace {

// Documents differ in size, needles do not.
constexpr int64_t kDocumentsAtATime = 16, kNeedlesAtATime = 4;
constexpr int64_t kMostTokens =
    65536;  // that are read at once to see how strongly they are written

QualityRow empty_row(const char* test, const std::string& file, const LoadedModel& loaded) {
  const auto& config = loaded.model.config();
  QualityRow row{{"test", test},
                 {"file", file},
                 {"chunk_size", config.lact_chunk_size},
                 {"learn", config.use_fast_weights ? config.learn : "absent"}};
  for (const char* key : {"from", "to", "length", "depth", "tokens", "loss", "perplexity",
                          "accuracy", "bits_per_byte", "trials", "candidates", "first", "gain",
                          "mean_rank", "exact", "write_strength"})
    row[key] = nullptr;
  return row;
}

void put_totals(QualityRow& row, const Totals& totals) {
  row["tokens"] = totals.tokens;
  row["loss"] = totals.loss();
  row["perplexity"] = std::exp(totals.loss());
  row["accuracy"] = totals.accuracy();
}

/// How strongly the first chunk of a file is written; 0 if it has no second, or nothing is learned.
double strength_on(const LoadedModel& loaded, const std::string& file) {
  const int64_t length = 2 * loaded.model.config().lact_chunk_size;
  // What comes through a pipe can be read only once; of very large chunks the pass would not fit.
  if (!std::filesystem::is_regular_file(file) || length > kMostTokens) return 0;
  const auto device = loaded.model.parameters().front().second.device();
  if (file.ends_with(".safetensors")) {
    const auto packed = PackedTokens::open(file);
    const int64_t end = std::min(length, packed.documents() > 0 ? packed.begin(1) : 0);
    return loaded.model.write_strength(packed.ids(0, end).unsqueeze(0).to(device));
  }
  auto reader = TextReader::from_file(loaded.tokenizer, file, /*continued=*/false);
  const auto ids = reader.next(static_cast<size_t>(length));
  return loaded.model.write_strength(at::tensor(ids, at::kLong).unsqueeze(0).to(device));
}

/// What is measured of a file: a row for all of it, and for each stretch of its positions.
void report(const LoadedModel& loaded, const FileScore& score,
            const std::function<void(const QualityRow&)>& each) {
  require_tokens(score);
  auto row = empty_row("text", score.file, loaded);
  put_totals(row, score.totals);
  if (!score.packed) row["bits_per_byte"] = score.bits_per_byte();
  const auto strength = strength_on(loaded, score.file);
  if (strength > 0) row["write_strength"] = strength;
  each(row);
  score.positions.each([&](int64_t from, int64_t to, const Totals& totals) {
    auto part = empty_row("position", score.file, loaded);
    part["from"] = from;
    part["to"] = to;
    put_totals(part, totals);
    each(part);
  });
}

void texts(const LoadedModel& loaded, const QualityOptions& options,
           const cli::Processes& processes, const std::function<void(const QualityRow&)>& each) {
  const std::function<Session()> begin = [&] { return Session(loaded, {}, /*seed=*/0); };
  std::vector<ScoreOptions> scoring(options.files.size());
  std::vector<std::optional<PartScorer>> scorers;
  struct Part {
    size_t file;
    int64_t number;
  };
  std::vector<Part> parts;
  for (size_t i = 0; i < scoring.size(); ++i) {
    scoring[i].files = {options.files[i]};
    scoring[i].bucket = options.bucket;
    scoring[i].group = options.group;
    scorers.emplace_back(std::in_place, loaded, scoring[i], begin);
    const int64_t count = scorers[i]->parts();
    if (count == 0) throw Error(Exit::data, options.files[i], ": has no token to score");
    for (int64_t number = 0; number < count; ++number) parts.push_back({i, number});
  }
  FileScore sum(options.bucket);
  processes.in_order(
      static_cast<int64_t>(parts.size()), kDocumentsAtATime,
      [&](int64_t i) {
        const auto& part = parts[static_cast<size_t>(i)];
        return cli::to_bytes(scorers[part.file]->score(part.number).numbers());
      },
      [&](int64_t i, const std::string& made) {
        const auto& part = parts[static_cast<size_t>(i)];
        if (part.number == 0) sum = FileScore(options.bucket);
        sum.file = options.files[part.file];
        sum.add(FileScore::of(cli::from_bytes<double>(made), options.bucket));
        const auto next = static_cast<size_t>(i + 1);
        if (next < parts.size() && parts[next].file == part.file) return;
        scorers[part.file].reset();  // its progress line ends
        report(loaded, sum, each);
      });
}

void needles(const LoadedModel& loaded, const Haystack& haystack, const QualityOptions& options,
             const cli::Processes& processes, const std::function<void(const QualityRow&)>& each) {
  std::vector<std::pair<int64_t, double>> places;
  for (const int64_t length : options.lengths)
    for (const double depth : options.depths) places.emplace_back(length, depth);
  const int64_t trials = options.needles.trials;
  NeedleScore score;
  processes.in_order(
      static_cast<int64_t>(places.size()) * trials, kNeedlesAtATime,
      [&](int64_t i) {
        const auto [length, depth] = places[static_cast<size_t>(i / trials)];
        return cli::to_bytes(std::vector<NeedleScore>{
            haystack.retrieve(length, depth, i % trials, options.needles)});
      },
      [&](int64_t i, const std::string& made) {
        if (i % trials == 0) score = {};
        score.add(cli::from_bytes<NeedleScore>(made)[0]);
        if (i % trials < trials - 1) return;
        const auto part = [&](auto sum) {
          return static_cast<double>(sum) / static_cast<double>(score.trials);
        };
        const auto [length, depth] = places[static_cast<size_t>(i / trials)];
        auto row = empty_row("needle", options.haystack, loaded);
        row["length"] = length;
        row["depth"] = depth;
        row["loss"] = -part(score.logprob);
        row["trials"] = score.trials;
        row["candidates"] = options.needles.candidates;
        row["first"] = part(score.first);
        row["gain"] = part(score.gain);
        row["mean_rank"] = part(score.ranks);
        row["exact"] = part(score.exact);
        each(row);
      });
}

}  // namespace

void evaluate_quality(LoadedModel& loaded, const QualityOptions& options,
                      const cli::Processes& processes,
                      const std::function<void(const QualityRow&)>& each) {
  const int64_t trained = loaded.model.config().lact_chunk_size;
  std::optional<Haystack> haystack;
  if (!options.haystack.empty())
    haystack.emplace(loaded, options.haystack,
                     *std::max_element(options.lengths.begin(), options.lengths.end()));
  const auto chunks = options.chunks.empty() ? std::vector<int64_t>{trained} : options.chunks;
  for (const int64_t chunk : chunks) {
    loaded.model.set_chunk_size(chunk);
    texts(loaded, options, processes, each);
    if (haystack) needles(loaded, *haystack, options, processes, each);
  }
  loaded.model.set_chunk_size(trained);
}

}  // namespace lact::text
