#pragma once
// What a step of training sees: windows of packed clips with noise and times of their own, each a
// pure function of its place in the run.

#include <plugins/video/packed/packed_clips.hpp>

#include <lact/random.hpp>
#include <lact/train/task.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lact::video {

/// A window and what is drawn for it.
struct WindowShape {
  int64_t frames = 0;       ///< of the clip as it is packed: pixels or latents
  bool from_start = false;  ///< windows begin where clips do
  int64_t repeats = 1, chunks = 0, chunk_frames = 0;
  int64_t channels = 0, height = 0, width = 0;  ///< of latents
};

/// Errors   65 naming folder and clip if one is too short
void check(const PackedClips& clips, const WindowShape& shape, const std::string& where);

/// A batch holds
///   frames  uint8 [B, F, H, W, 3], or latents [B, f, c, h, w] as packed
///   noise   [B, r, chunks, chunk_frames, c, h, w] float32
///   times   u [B, r, chunks] in [0, 1); not of evaluation, which has its own
///   clips   [B] int64; -1: its prompt is dropped
struct WindowBatch {
  std::vector<train::Batch> rows;
  void add(const PackedClips& clips, const WindowShape& shape, int64_t clip, int64_t begin,
           const at::Tensor& noise);
  train::Batch stacked() const;
};

struct BatchPlan {
  int64_t rows = 1;
  int micro_batches = 1;
  double drop_text = 0;  ///< how often all prompts of a batch are dropped
};

/// Random windows of all clips, each clip once an epoch.
std::unique_ptr<train::Source> window_source(const PackedClips& clips, const WindowShape& shape,
                                             const BatchPlan& plan);

/// Windows of evaluation: of clips `first`, ..., the same ones every time.
train::Batch evaluation_windows(const PackedClips& clips, const WindowShape& shape, int64_t first,
                                int64_t rows);

}  // namespace lact::video
