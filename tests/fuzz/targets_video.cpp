// What the modality video reads: packed clips, pictures of digits, tables of captions.

#include "targets.hpp"

#include <lact/io/safetensors.hpp>
#include <plugins/video/clips/captions.hpp>
#include <plugins/video/clips/digit_images.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <ATen/ops/full.h>

#include <cstring>
#include <stdexcept>

namespace lact::fuzz {
namespace {

using namespace video;

// --- packed clips --------------------------------------------------------------------------------

/// Without checksums, which would refuse all that is changed.
std::string packed_clips_seed(const at::Tensor& frames, const io::Metadata& more) {
  const auto file = scratch() / "seed.safetensors";
  const std::string list =
      R"([{"frames":2,"source":"a.mp4","start":1.5,"caption":"a dog","label":"dog"},{"frames":1}])";
  auto text = at::full({static_cast<int64_t>(list.size())}, 0, at::kByte);
  std::memcpy(text.mutable_data_ptr(), list.data(), list.size());
  io::Metadata metadata{{"lact.kind", "clips"}, {"lact.version", "1"}, {"width", "4"},
                        {"height", "2"},        {"rate", "12.5"},      {"split", "train"}};
  metadata.insert(more.begin(), more.end());
  io::write_safetensors(file, {{"00001.frames", frames}, {"00001.clips", text}}, metadata);
  return get(file);
}

std::vector<std::string> packed_clips_seeds() {
  return {packed_clips_seed(at::full({3, 2, 4, 3}, 200, at::kByte), {}),
          packed_clips_seed(at::full({3, 5, 1, 2}, 0.5, at::kBFloat16),
                            {{"codec", "wan"}, {"factor", "2"}})};
}

void packed_clips(const std::string& bytes) {
  const auto file = scratch() / "train.safetensors";
  put(file, bytes);
  const auto all = PackedClips::open(file);
  all.labels();
  for (int64_t i = 0; i < all.size(); ++i) {
    const auto frames = all.read(i, 0, all.frames(i));
    if (frames.size(0) != all.frames(i)) throw std::logic_error("frames that are not there");
    use(frames.const_data_ptr(), frames.nbytes());
  }
}

// --- digits --------------------------------------------------------------------------------------

/// The images, and behind 32 bytes of them the labels.
std::vector<std::string> idx_seeds() {
  return {std::string("\0\0\x8\3\0\0\0\4\0\0\0\2\0\0\0\2abcdefghijklmnop", 32) +
          std::string("\0\0\x8\1\0\0\0\4\1\2\3\x9", 12)};
}

void use_digits(const DigitImages& all) {
  for (const auto& digit : all.digits) {
    if (digit.pixels.size() != static_cast<size_t>(all.size * all.size) || digit.label > 9)
      throw std::logic_error("a digit of another size");
    use(digit.pixels.data(), digit.pixels.size());
  }
}

void idx(const std::string& bytes) {
  const auto half = std::min<size_t>(bytes.size(), 32);
  use_digits(parse_idx(std::string_view(bytes).substr(0, half), "images",
                       std::string_view(bytes).substr(half), "labels"));
}

std::vector<std::string> digits_csv_seeds() {
  std::string line;
  for (int i = 0; i < 64; ++i) line += std::to_string(i % 17) + ",";
  return {line + "3\n" + line + "9\r\n"};
}

void digits_csv(const std::string& bytes) {
  use_digits(parse_digits_csv(bytes, "digits.csv"));
}

// --- captions ------------------------------------------------------------------------------------

std::vector<std::string> captions_seeds() {
  return {"file,caption,label\r\na.mp4,\"a \"\"dog\"\", or two\nlines\",dog\r\nb.mp4,x,\r\n",
          "a.mp4,a caption\n\nb.mp4,\n"};
}

/// Almost any text is a table: what is refused is refused here.
void captions(const std::string& bytes) {
  try {
    for (const auto& row : parse_csv(bytes, "table.csv"))
      for (const auto& field : row) {
        const auto line = one_line(field);
        use(line.data(), line.size());
      }
  } catch (const Error& error) {
    if (error.code() != Exit::data) throw;
  }
}

std::vector<std::string> caption_table_seeds() {
  return {"video,prompt\na.mp4,\"a dog, or two\"\nb.mp4,x\n",
          "{\"file_name\": \"a.mp4\", \"text\": \"a dog\"}\n{\"path\": \"b\", \"cap\": [\"x\"]}\n",
          "[{\"video\": \"a.mp4\", \"caption\": \"a dog\", \"label\": \"dog\", \"n\": 3}]"};
}

void caption_table(const std::string& bytes) {
  auto table = CaptionTable::parse(bytes, bytes.starts_with('[') ? "table.json" : "table.csv");
  if (const auto* said = table.find("a.mp4"); said != nullptr)
    use(said->caption.data(), said->caption.size());
  for (const auto& file : table.unused()) use(file.data(), file.size());
}

}  // namespace

std::vector<Target> video_targets() {
  return {
      {"packed-clips",
       packed_clips_seeds,
       packed_clips,
       {Exit::data},
       {"clips", "frames", "codec", "factor", "rate"}},
      {"digits-idx", idx_seeds, idx, {Exit::data}, {}},
      {"digits-csv", digits_csv_seeds, digits_csv, {Exit::data}, {}},
      {"captions-csv", captions_seeds, captions, {}, {"\r\n"}},
      {"captions-table", caption_table_seeds, caption_table, {Exit::data}, {"file", "caption"}},
  };
}

}  // namespace lact::fuzz
