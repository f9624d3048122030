#pragma once
// How good a model is: the loss of texts, whole and by position, and needles found, as flat rows.

#include "needle.hpp"

#include <plugins/text/session/session.hpp>

#include <lact/cli/processes.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lact::text {

struct QualityOptions {
  std::vector<std::string> files;  ///< texts, or packed data (*.safetensors)
  int64_t bucket = 0;              ///< positions of a row; 0: doubling, 1, 2-3, 4-7, ...
  std::vector<int64_t> chunks;     ///< sizes to evaluate with; empty: the model's own
  std::string haystack;            ///< text to hide needles in; empty: none
  std::vector<int64_t> lengths{1024};
  std::vector<double> depths{0, 0.25, 0.5, 0.75, 1};
  NeedleOptions needles;
  int64_t group = 512;  ///< tokens read at a time
};

/// A row for each file, each stretch of its positions, each length and depth of needles, and all of
/// that for each chunk size. Keys are the same in all rows, null where they say nothing:
///   test                     "text", "position" or "needle"
///   file, chunk_size
///   from, to                 positions of the predicted tokens
///   length, depth            of a needle
///   learn, trained_learn     what an update changes now, and in training
///   tokens, loss, perplexity, accuracy, bits_per_byte
///   write_strength           of texts: LanguageModel::write_strength on the first
///   trials, candidates, first, gain, mean_rank, exact
using QualityRow = nlohmann::ordered_json;

/// Several processes share the files, documents and needles; `each` is called on rank 0 alone, with
/// the numbers of one process.
/// Errors   as score() and Haystack; cli::Interrupted
void evaluate_quality(LoadedModel& loaded, const QualityOptions& options,
                      const cli::Processes& processes,
                      const std::function<void(const QualityRow&)>& each);

}  // namespace lact::text
