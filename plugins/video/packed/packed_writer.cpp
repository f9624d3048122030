#include "packed_writer.hpp"

#include <plugins/common/packed/packed_set.hpp>

#include <lact/error.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace lact::video {
namespace {

using Json = nlohmann::json;

const char* dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kByte:
      return "U8";
    case at::kFloat:
      return "F32";
    case at::kBFloat16:
      return "BF16";
    case at::kHalf:
      return "F16";
    default:
      return "none that is packed";
  }
}

std::string exact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

struct ClipWriter::Impl {
  packed::Shards shards;
  std::string split;
  ClipFormat format;
  uint64_t shard_bytes;
  std::vector<int64_t> row;   // shape of a frame
  Json list = Json::array();  // of the open file
  Json next;                  // the clip at hand, until it has frames
  int64_t files = 0, clips = 0, frames = 0;

  std::string number() const {
    char text[32];
    std::snprintf(text, sizeof text, "%05lld", static_cast<long long>(files));
    return text;
  }
  void open_clip();
  void close_file();
};

ClipWriter::ClipWriter(const std::filesystem::path& folder, std::string split,
                       const ClipFormat& format, uint64_t shard_bytes)
    : impl_(new Impl{packed::Shards(folder, split), split, format, shard_bytes, {}, {}, {}}) {
  impl_->list = Json::array();
  if (format.codec.empty())
    impl_->row = {format.height, format.width, 3};
  else
    impl_->row = {format.channels, format.height / format.factor, format.width / format.factor};
}

ClipWriter::~ClipWriter() = default;

int64_t ClipWriter::clips() const {
  return impl_->clips;
}
int64_t ClipWriter::frames() const {
  return impl_->frames;
}

void ClipWriter::begin(const ClipInfo& info) {
  auto& next = impl_->next = Json::object();
  next["frames"] = 0;
  if (!info.source.empty()) next["source"] = info.source;
  if (info.start != 0) next["start"] = info.start;
  if (!info.caption.empty()) next["caption"] = info.caption;
  if (!info.label.empty()) next["label"] = info.label;
}

void ClipWriter::add(const at::Tensor& frames) {
  auto& at = *impl_;
  if (frames.dim() < 1 || dtype_of(frames) != at.format.dtype || !frames.is_cpu() ||
      frames.sizes().slice(1) != at::IntArrayRef(at.row))
    throw Error(Exit::internal, "frames ", frames.sizes(), " of ", frames.scalar_type(),
                " in a pack of ", at::IntArrayRef(at.row), " of ", at.format.dtype);
  if (frames.size(0) == 0) return;
  if (!at.next.is_null()) at.open_clip();
  const auto plain = frames.contiguous();
  at.shards.append(plain.const_data_ptr(), plain.nbytes());
  auto& count = at.list.back()["frames"];
  count = count.get<int64_t>() + frames.size(0);
  at.frames += frames.size(0);
}

void ClipWriter::Impl::open_clip() {
  if (shards.is_open() && shards.bytes() >= shard_bytes) close_file();
  if (!shards.is_open()) {
    ++files;
    shards.open();
    shards.begin(number() + ".frames", format.dtype, row);
  }
  list.push_back(std::move(next));
  next = nullptr;
  ++clips;
}

void ClipWriter::Impl::close_file() {
  const auto text = packed::list_text(list);
  shards.begin(number() + ".clips", "U8");
  shards.append(text.data(), text.size());
  auto metadata = packed::metadata("clips", split);
  metadata["width"] = std::to_string(format.width);
  metadata["height"] = std::to_string(format.height);
  metadata["rate"] = exact(format.rate);
  if (!format.codec.empty()) {
    metadata["codec"] = format.codec;
    metadata["factor"] = std::to_string(format.factor);
  }
  shards.close(metadata);
  list = Json::array();
}

void ClipWriter::seal() {
  if (impl_->clips == 0) throw Error(Exit::internal, "a pack without clips");
  if (impl_->shards.is_open()) impl_->close_file();
  impl_->shards.seal({{"clips", impl_->clips}});
}

void ClipWriter::commit() {
  impl_->shards.commit();
}

void commit(const std::filesystem::path& folder, ClipWriter& train, ClipWriter* validation) {
  packed::commit(folder, train,
                 validation != nullptr && validation->clips() > 0 ? validation : nullptr);
}

}  // namespace lact::video
