#pragma once
// A packed set of clips that are computed, on all threads.

#include "made_clips.hpp"

#include <plugins/video/packed/packed_writer.hpp>

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace lact::video {

/// -o, --count, --validation-count, --fps, --shard-size.
struct MadeSetOptions {
  std::string output, shard_size = "4G";
  int64_t count = 10000, validation = 500;
  double fps = 10;
  void declare(cli::Options options);
};

/// What makes clip `number` of a stream of random numbers of its own (`purpose`).
using MakeClip = std::function<MadeClip(uint64_t purpose, int64_t number)>;

/// Packs options.count clips of `train` and options.validation of `validation`, and says so.
void make_set(const MadeSetOptions& options, int64_t width, int64_t height, const MakeClip& train,
              const MakeClip& validation, const cli::Context& context);

/// --shard-size as bytes. Errors: 64
uint64_t parse_shard_size(const std::string& text);

}  // namespace lact::video
