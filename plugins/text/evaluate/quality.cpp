#include "quality.hpp"

#include "score.hpp"

#include <plugins/text/packed/packed_tokens.hpp>
#include <plugins/text/session/text_reader.hpp>

#include <lact/cli/run.hpp>

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

namespace lact::text {
namespace {

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

void texts(const LoadedModel& loaded, const QualityOptions& options,
           const std::function<void(const QualityRow&)>& each) {
  for (const auto& file : options.files) {
    ScoreOptions scoring;
    scoring.files = {file};
    scoring.bucket = options.bucket;
    scoring.group = options.group;
    const auto score = score_file(loaded, scoring, [&] { return Session(loaded, {}, /*seed=*/0); });
    auto row = empty_row("text", file, loaded);
    put_totals(row, score.totals);
    if (!score.packed) row["bits_per_byte"] = score.bits_per_byte();
    const auto strength = strength_on(loaded, file);
    if (strength > 0) row["write_strength"] = strength;
    each(row);
    score.positions.each([&](int64_t from, int64_t to, const Totals& totals) {
      auto part = empty_row("position", file, loaded);
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
