#include "quality.hpp"

#include "score.hpp"

#include <lact/cli/run.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

namespace lact::text {
namespace {

QualityRow empty_row(const char* test, const std::string& file, int64_t chunk) {
  QualityRow row{{"test", test}, {"file", file}, {"chunk_size", chunk}};
  for (const char* key :
       {"from", "to", "length", "depth", "tokens", "loss", "perplexity", "accuracy",
        "bits_per_byte", "trials", "candidates", "first", "gain", "mean_rank", "exact"})
    row[key] = nullptr;
  return row;
}

void put_totals(QualityRow& row, const Totals& totals) {
  row["tokens"] = totals.tokens;
  row["loss"] = totals.loss();
  row["perplexity"] = std::exp(totals.loss());
  row["accuracy"] = totals.accuracy();
}

void texts(const LoadedModel& loaded, const QualityOptions& options,
           const std::function<void(const QualityRow&)>& each) {
  const int64_t chunk = loaded.model.config().lact_chunk_size;
  for (const auto& file : options.files) {
    ScoreOptions scoring;
    scoring.files = {file};
    scoring.bucket = options.bucket;
    scoring.group = options.group;
    const auto score = score_file(loaded, scoring, [&] { return Session(loaded, {}, /*seed=*/0); });
    auto row = empty_row("text", file, chunk);
    put_totals(row, score.totals);
    if (!score.packed) row["bits_per_byte"] = score.bits_per_byte();
    each(row);
    score.positions.each([&](int64_t from, int64_t to, const Totals& totals) {
      auto part = empty_row("position", file, chunk);
      part["from"] = from;
      part["to"] = to;
      put_totals(part, totals);
      each(part);
    });
  }
}

void needles(const LoadedModel& loaded, const Haystack& haystack, const QualityOptions& options,
             const std::function<void(const QualityRow&)>& each) {
  for (const int64_t length : options.lengths)
    for (const double depth : options.depths) {
      const auto score = haystack.retrieve(length, depth, options.needles);
      const auto part = [&](auto sum) {
        return static_cast<double>(sum) / static_cast<double>(score.trials);
      };
      auto row = empty_row("needle", options.haystack, loaded.model.config().lact_chunk_size);
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
    }
}

}  // namespace

void evaluate_quality(LoadedModel& loaded, const QualityOptions& options,
                      const std::function<void(const QualityRow&)>& each) {
  const int64_t trained = loaded.model.config().lact_chunk_size;
  std::optional<Haystack> haystack;
  if (!options.haystack.empty())
    haystack.emplace(loaded, options.haystack,
                     *std::max_element(options.lengths.begin(), options.lengths.end()));
  const auto chunks = options.chunks.empty() ? std::vector<int64_t>{trained} : options.chunks;
  for (const int64_t chunk : chunks) {
    loaded.model.set_chunk_size(chunk);
    texts(loaded, options, each);
    if (haystack) needles(loaded, *haystack, options, each);
  }
  loaded.model.set_chunk_size(trained);
}

}  // namespace lact::text
