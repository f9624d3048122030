#include "make_set.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/video/packed/random_purposes.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/log.hpp>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <optional>

namespace lact::video {
namespace {

constexpr int64_t kMostClips = 64, kMostBytes = int64_t{1} << 28;  // in memory

}  // namespace

uint64_t parse_shard_size(const std::string& text) {
  const auto bytes = cli::parse_numbers(text, "--shard-size");
  if (bytes.size() != 1 || bytes[0] < 1)
    throw Error(Exit::usage, "--shard-size ", text, ": expected one number of bytes");
  return static_cast<uint64_t>(bytes[0]);
}

void MadeSetOptions::declare(cli::Options options) {
  options.add("-o,--output", output, "folder for train.safetensors and validation.safetensors")
      .value("DIR")
      .required();
  options.add("--count", count, "number of clips for training").range(1, 1 << 30).value("N");
  options.add("--validation-count", validation, "number of clips for validation")
      .range(0, 1 << 30)
      .value("N");
  options.add("--fps", fps, "frames per second to record for the clips")
      .range(0.01, 1000.0)
      .value("FPS");
  options
      .add("--shard-size", shard_size,
           "bytes of frames after which a new file is begun; K, M or G may follow")
      .value("BYTES");
  options.renamed("--validation", "--validation-count");
  options.renamed("--rate", "--fps");
}

void make_set(const MadeSetOptions& options, int64_t width, int64_t height, const MakeClip& train,
              const MakeClip& validation, const cli::Context& context) {
  const auto shard_bytes = parse_shard_size(options.shard_size);
  cli::stop_requested();  // from here on a signal leaves no half file
  ClipFormat format;
  format.width = width;
  format.height = height;
  format.rate = options.fps;
  const std::array counts{options.count, options.validation};
  const std::array makers{&train, &validation};
  const std::array purposes{uint64_t{kMadeTraining}, uint64_t{kMadeValidation}};
  std::optional<ClipWriter> writers[2];
  cli::Progress progress("making", static_cast<double>(counts[0] + counts[1]), "clips");
  auto json = nlohmann::ordered_json::object();
  int64_t done = 0;
  for (const size_t split : {0, 1}) {
    if (counts[split] == 0) continue;
    auto& writer =
        writers[split].emplace(options.output, packed::kSplits[split], format, shard_bytes);
    int64_t batch = at::get_num_threads();  // until the size of a clip is known
    for (int64_t first = 0; first < counts[split];) {
      if (cli::stop_requested()) throw cli::Interrupted();
      std::vector<MadeClip> clips(static_cast<size_t>(std::min(batch, counts[split] - first)));
      at::parallel_for(0, static_cast<int64_t>(clips.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          clips[static_cast<size_t>(i)] = (*makers[split])(purposes[split], first + i);
      });
      for (const auto& clip : clips) {
        writer.begin(clip.info);
        writer.add(clip.frames);
        progress.set(static_cast<double>(++done));
      }
      first += static_cast<int64_t>(clips.size());
      const auto bytes = static_cast<int64_t>(clips[0].frames.nbytes());
      batch = std::max<int64_t>(std::min(kMostBytes / bytes, kMostClips), at::get_num_threads());
    }
    json[packed::kSplits[split]] = {{"clips", writer.clips()},
                                    {"frames", writer.frames()},
                                    {"width", width},
                                    {"height", height}};
    log::info(packed::kSplits[split], ": ", writer.clips(),
              writer.clips() == 1 ? " clip of " : " clips of ", writer.frames() / writer.clips(),
              " frames of ", width, " x ", height);
  }
  commit(options.output, *writers[0], writers[1] ? &*writers[1] : nullptr);
  if (context.json) cli::out(json.dump(2) + "\n");
}

}  // namespace lact::video
