#include "packed_clips.hpp"

#include <plugins/common/packed/packed_set.hpp>

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using Entry = io::SafeTensors::Entry;
using Json = nlohmann::json;

constexpr char kMaker[] = "lact-tokenize video";

/// What the metadata of every file of a set say alike.
struct Common {
  int64_t width = 0, height = 0, factor = 1;
  double rate = 0;
  std::string codec;
  std::string dtype;
  std::vector<int64_t> row;  // shape of a frame
  bool operator==(const Common&) const = default;
};

struct Clip {
  ClipInfo info;
  int64_t frames = 0;
  const std::byte* data = nullptr;
};

[[noreturn]] void fail(const io::SafeTensors& file, const std::string& tensor,
                       const std::string& what) {
  throw Error(Exit::data, file.path().string(), ": tensor ", io::printable(tensor), ": ", what);
}

double rate_of(const io::SafeTensors& file) {
  const auto& text = packed::metadata_text(file, "rate");
  double rate = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (error != std::errc() || end != text.data() + text.size() || !(rate > 0 && rate < 1e6))
    throw Error(Exit::data, file.path().string(), ": metadata rate: \"", io::printable(text),
                "\" is no number of frames per second");
  return rate;
}

Common common_of(const io::SafeTensors& file, const Entry& frames) {
  packed::check_kind(file, "clips", "packed clips");
  Common common;
  common.width = packed::metadata_number(file, "width");
  common.height = packed::metadata_number(file, "height");
  common.rate = rate_of(file);
  if (const auto codec = file.metadata().find("codec"); codec != file.metadata().end()) {
    common.codec = codec->second;
    common.factor = packed::metadata_number(file, "factor");
  }
  common.dtype = frames.dtype;
  if (frames.shape.size() != 4) fail(file, frames.name, "expected four dimensions");
  common.row.assign(frames.shape.begin() + 1, frames.shape.end());
  for (const int64_t side : common.row)
    if (side < 1 || side > 1 << 20) fail(file, frames.name, "has frames of no size");
  return common;
}

void check_frames(const io::SafeTensors& file, const Entry& frames, const Common& common) {
  const auto& c = common;
  std::vector<int64_t> want{c.height, c.width, 3};
  bool dtype = frames.dtype == "U8";
  if (!c.codec.empty()) {
    want = {c.row[0], c.height / c.factor, c.width / c.factor};
    dtype = frames.dtype == "F32" || frames.dtype == "BF16" || frames.dtype == "F16";
  }
  if (!dtype || c.row != want)
    fail(file, frames.name,
         concat("expected ", c.codec.empty() ? "U8" : "F32, BF16 or F16", " frames of ",
                at::IntArrayRef(want), ", found ", frames.dtype, " ",
                at::IntArrayRef(frames.shape)));
}

std::string text_of(const Json& clip, const char* key, bool* sound) {
  const auto found = clip.find(key);
  if (found == clip.end()) return {};
  *sound = *sound && found->is_string();
  return found->is_string() ? found->get<std::string>() : std::string();
}

/// "clip 3: ..." in errors counts within the file.
std::vector<Clip> read_clips(const io::SafeTensors& file, const std::string& tensor,
                             const Entry& frames) {
  const auto list = packed::read_list(file, tensor);
  if (!list.is_array()) fail(file, tensor, "expected a list");
  const auto bytes = static_cast<int64_t>(frames.end - frames.begin);
  const int64_t all = frames.shape[0], row = all > 0 ? bytes / all : 0;
  const auto* data = file.bytes(frames.name);
  int64_t used = 0;
  std::vector<Clip> clips;
  for (const auto& one : list) {
    Clip clip;
    const auto count = one.is_object() ? one.find("frames") : one.end();
    bool sound = one.is_object() && count != one.end() && count->is_number_integer();
    if (sound) {
      clip.frames = count->get<int64_t>();
      clip.info.source = text_of(one, "source", &sound);
      clip.info.caption = text_of(one, "caption", &sound);
      clip.info.label = text_of(one, "label", &sound);
      if (const auto start = one.find("start"); start != one.end()) {
        sound = sound && start->is_number();
        if (sound) clip.info.start = start->get<double>();
      }
    }
    const auto which = concat("clip ", clips.size());
    if (!sound) fail(file, tensor, which + ": expected frames, and words of it");
    if (clip.frames < 1 || clip.frames > all - used)
      fail(file, tensor, concat(which, ": ", clip.frames, " frames of ", all - used, " left"));
    clip.data = data + used * row;
    used += clip.frames;
    clips.push_back(std::move(clip));
  }
  if (used != all) fail(file, tensor, concat("its clips have ", used, " frames, the file ", all));
  return clips;
}

at::ScalarType type_of(const std::string& dtype) {
  if (dtype == "U8") return at::kByte;
  if (dtype == "F32") return at::kFloat;
  return dtype == "F16" ? at::kHalf : at::kBFloat16;
}

}  // namespace

struct PackedClips::Impl {
  io::Checkpoint file;
  fs::path path;
  Common common;
  std::vector<Clip> clips;

  const Clip& clip(int64_t number) const {
    if (number < 0 || number >= static_cast<int64_t>(clips.size()))
      throw Error(Exit::internal, path.string(), ": clip ", number, " of ", clips.size());
    return clips[static_cast<size_t>(number)];
  }
};

PackedClips PackedClips::open(const fs::path& where, const std::string& split) {
  auto impl = std::make_shared<Impl>();
  impl->path = packed::find_split(where, split, kMaker);
  impl->file = io::Checkpoint::open(impl->path);
  constexpr std::string_view kFrames = ".frames";
  for (const auto& name : impl->file.names()) {
    const auto at = name.size() - std::min(name.size(), kFrames.size());
    if (name.compare(at, name.npos, kFrames) != 0) continue;
    const auto& file = impl->file.file_of(name);
    const auto& entry = file.entry(name);
    const auto common = common_of(file, entry);
    check_frames(file, entry, common);
    if (impl->clips.empty()) impl->common = common;
    if (common != impl->common)
      fail(file, name, "is of another size, rate or codec than the files before");
    const auto list = name.substr(0, at) + ".clips";
    for (auto& clip : read_clips(file, list, entry)) impl->clips.push_back(std::move(clip));
  }
  if (impl->clips.empty())
    throw Error(Exit::data, impl->path.string(), ": no packed clips: expected the output of ",
                kMaker);
  PackedClips packed;
  packed.impl_ = std::move(impl);
  return packed;
}

const fs::path& PackedClips::folder() const {
  return impl_->file.folder();
}
int64_t PackedClips::size() const {
  return static_cast<int64_t>(impl_->clips.size());
}
int64_t PackedClips::width() const {
  return impl_->common.width;
}
int64_t PackedClips::height() const {
  return impl_->common.height;
}
double PackedClips::rate() const {
  return impl_->common.rate;
}
const std::string& PackedClips::codec() const {
  return impl_->common.codec;
}
int64_t PackedClips::factor() const {
  return impl_->common.factor;
}
const ClipInfo& PackedClips::info(int64_t clip) const {
  return impl_->clip(clip).info;
}
int64_t PackedClips::frames(int64_t clip) const {
  return impl_->clip(clip).frames;
}

at::Tensor PackedClips::read(int64_t clip, int64_t begin, int64_t count) const {
  const auto& one = impl_->clip(clip);
  if (begin < 0 || count < 1 || count > one.frames - begin)
    throw Error(Exit::internal, impl_->path.string(), ": clip ", clip, ": frames ", begin, " to ",
                begin + count, " of ", one.frames);
  const auto& row = impl_->common.row;
  const auto type = type_of(impl_->common.dtype);
  const auto item = static_cast<int64_t>(c10::elementSize(type));
  const int64_t bytes = row[0] * row[1] * row[2] * item;
  const std::vector<int64_t> shape{count, row[0], row[1], row[2]};
  // from_blob has no tensors for reading only. The lambda keeps the mapping alive.
  auto* data = const_cast<std::byte*>(one.data) + begin * bytes;
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(item) == 0)
    return at::from_blob(
        data, shape, [keep = impl_](void*) {}, at::TensorOptions(type));
  auto copy = at::empty(shape, at::TensorOptions(type));
  std::memcpy(copy.mutable_data_ptr(), data, static_cast<size_t>(count * bytes));
  return copy;
}

std::vector<std::string> PackedClips::labels() const {
  std::set<std::string> found;
  for (const auto& clip : impl_->clips)
    if (!clip.info.label.empty()) found.insert(clip.info.label);
  return {found.begin(), found.end()};
}

void PackedClips::verify() const {
  packed::verify(impl_->file);
}

at::Tensor to_video(const at::Tensor& frames, at::Device device) {
  return frames.to(device).to(at::kFloat).div(255).movedim(-1, 1);
}

}  // namespace lact::video
