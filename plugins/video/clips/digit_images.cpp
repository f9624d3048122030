#include "digit_images.hpp"

#include <plugins/video/packed/random_purposes.hpp>

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <system_error>

namespace lact::video {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestSide = 512;
constexpr size_t kMostBytes = size_t{1} << 30;
constexpr int64_t kCsvSide = 8, kCsvLevels = 16;
constexpr uint32_t kIdxImages = 0x803, kIdxLabels = 0x801;

struct Closed {
  void operator()(gzFile file) const { gzclose(file); }
};

/// The file, decompressed if it is compressed.
std::string read_gzip(const fs::path& file) {
  std::error_code error;
  if (fs::is_directory(file, error)) throw Error(Exit::no_input, file.string(), ": is a directory");
  errno = 0;
  const std::unique_ptr<gzFile_s, Closed> in(gzopen(file.c_str(), "rbe"));
  if (!in)
    throw Error(Exit::no_input, file.string(),
                ": cannot open: ", std::generic_category().message(errno));
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const int n = gzread(in.get(), buffer.data(), buffer.size());
    int code = Z_OK;
    const char* words = gzerror(in.get(), &code);
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END))
      throw Error(Exit::data, file.string(), ": damaged gzip data: ", words);
    if (n == 0) return text;
    if (text.size() + static_cast<size_t>(n) > kMostBytes)
      throw Error(Exit::data, file.string(), ": expected at most ", kMostBytes, " bytes");
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

uint32_t big_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

bool is_idx(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[0] == 0 && bytes[1] == 0;
}

/// The sizes behind the magic number; what follows must be as many bytes.
std::vector<int64_t> idx_sizes(std::string_view bytes, uint32_t magic, const std::string& name) {
  const size_t count = magic & 255, head = 4 + 4 * count;
  if (bytes.size() < head || big_endian(bytes, 0) != magic)
    throw Error(Exit::data, name, ": expected an IDX file of bytes in ", count, " dimensions");
  std::vector<int64_t> sizes;
  uint64_t all = 1;
  for (size_t i = 0; i < count; ++i) {
    sizes.push_back(big_endian(bytes, 4 + 4 * i));
    if (i > 0 && (sizes[i] < 1 || sizes[i] > kLargestSide))
      throw Error(Exit::data, name, ": expected pictures of 1 to ", kLargestSide,
                  " pixels a side, found ", sizes[i]);
    all *= static_cast<uint64_t>(sizes[i]);
  }
  if (sizes[0] < 1 || all != bytes.size() - head)
    throw Error(Exit::data, name, ": expected ", all, " bytes after the sizes, found ",
                bytes.size() - head);
  return sizes;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const auto at = text.rfind(from); at != text.npos) text.replace(at, from.size(), to);
  return text;
}

/// The labels that belong to a file of images, compressed or not.
fs::path labels_beside(const fs::path& images) {
  auto name = replaced(replaced(images.filename().string(), "images", "labels"), "idx3", "idx1");
  const fs::path same = images.parent_path() / name;
  const bool packed = same.extension() == ".gz";
  const fs::path other = packed ? fs::path(same).replace_extension() : fs::path(same) += ".gz";
  std::error_code error;
  if (name == images.filename().string() || (!fs::exists(same, error) && !fs::exists(other, error)))
    throw Error(Exit::no_input, images.string(), ": expected its labels beside it, as ",
                same.string());
  return fs::exists(same, error) ? same : other;
}

fs::path digits_in(const fs::path& where) {
  std::error_code error;
  if (!fs::is_directory(where, error)) return where;
  for (const char* name : {"train-images-idx3-ubyte", "train-images.idx3-ubyte", "digits.csv"})
    for (const char* suffix : {"", ".gz"})
      if (const auto file = where / (std::string(name) + suffix); fs::exists(file, error))
        return file;
  throw Error(Exit::no_input, where.string(),
              ": expected train-images-idx3-ubyte or digits.csv in it, with or without .gz");
}

}  // namespace

DigitImages parse_idx(std::string_view images, const std::string& images_name,
                      std::string_view labels, const std::string& labels_name) {
  const auto sizes = idx_sizes(images, kIdxImages, images_name);
  const auto count = idx_sizes(labels, kIdxLabels, labels_name);
  if (sizes[1] != sizes[2])
    throw Error(Exit::data, images_name, ": expected square pictures, found ", sizes[2], " x ",
                sizes[1]);
  if (count[0] != sizes[0])
    throw Error(Exit::data, labels_name, ": expected ", sizes[0], " labels as there are pictures, ",
                "found ", count[0]);
  DigitImages all{sizes[1], {}};
  const auto pixels = static_cast<size_t>(sizes[1] * sizes[1]);
  images.remove_prefix(16);
  labels.remove_prefix(8);
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto* from = reinterpret_cast<const uint8_t*>(images.data()) + i * pixels;
    const auto label = static_cast<uint8_t>(labels[i]);
    if (label > 9)
      throw Error(Exit::data, labels_name, ": label ", i, ": expected a digit, found ", +label);
    all.digits.push_back({label, {from, from + pixels}});
  }
  return all;
}

DigitImages parse_digits_csv(std::string_view text, const std::string& name) {
  DigitImages all{kCsvSide, {}};
  for (int64_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    Digit digit;
    for (int64_t i = 0; i <= kCsvSide * kCsvSide; ++i) {
      const bool last = i == kCsvSide * kCsvSide;
      const auto comma = std::min(line.find(','), line.size());
      int64_t value = -1;
      const auto [stop, error] = std::from_chars(line.data(), line.data() + comma, value);
      if (error != std::errc() || stop != line.data() + comma || value < 0 ||
          value > (last ? 9 : kCsvLevels) || last != (comma == line.size()))
        throw Error(Exit::data, name, ":", number,
                    ": expected 64 numbers from 0 to 16 and a digit");
      line.remove_prefix(std::min(comma + 1, line.size()));
      if (last)
        digit.label = value;
      else
        digit.pixels.push_back(static_cast<uint8_t>((value * 255 + kCsvLevels / 2) / kCsvLevels));
    }
    all.digits.push_back(std::move(digit));
  }
  if (all.digits.empty()) throw Error(Exit::data, name, ": expected digits, found none");
  return all;
}

DigitImages read_digits(const fs::path& where) {
  const auto file = digits_in(where);
  const auto bytes = read_gzip(file);
  if (!is_idx(bytes)) return parse_digits_csv(bytes, file.string());
  const auto labels = labels_beside(file);
  return parse_idx(bytes, file.string(), read_gzip(labels), labels.string());
}

std::pair<DigitImages, DigitImages> split_digits(const DigitImages& all, uint64_t seed) {
  std::array<std::vector<size_t>, 10> by_label;
  for (size_t i = 0; i < all.digits.size(); ++i)
    by_label[static_cast<size_t>(all.digits[i].label)].push_back(i);
  std::pair<DigitImages, DigitImages> parts{{all.size, {}}, {all.size, {}}};
  for (size_t label = 0; label < by_label.size(); ++label) {
    const auto& pictures = by_label[label];
    const auto count = static_cast<int64_t>(pictures.size());
    if (count == 1)
      throw Error(Exit::data, "the digit ", label,
                  " has a single picture: with validation it "
                  "needs another");
    const auto kept = std::max<int64_t>(count / 10, 1);
    const auto order =
        shuffled(count, count, random_stream(seed, kDigitSplit, static_cast<int64_t>(label)));
    for (int64_t i = 0; i < count; ++i) {
      const auto& digit = all.digits[pictures[static_cast<size_t>(order[static_cast<size_t>(i)])]];
      (i < kept ? parts.second : parts.first).digits.push_back(digit);
    }
  }
  return parts;
}

}  // namespace lact::video
