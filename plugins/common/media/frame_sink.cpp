#include "frame_sink.hpp"

#include "sheet.hpp"

#include <lact/error.hpp>
#include <lact/log.hpp>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace lact::media {
namespace {

namespace fs = std::filesystem;

std::string lower_suffix(const std::string& output) {
  auto text = fs::path(output).extension().string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string padded(int64_t number, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%0*lld", digits, static_cast<long long>(number));
  return text;
}

void make_folder(const fs::path& folder) {
  if (folder.empty()) return;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(Exit::cannot_create, folder.string(), ": ", error.message());
}

}  // namespace

void check_folder(fs::path folder, bool may_be_made) {
  if (folder.empty()) folder = ".";
  std::error_code error;
  auto place = folder;
  while (may_be_made && !fs::exists(place, error) && place != place.root_path())
    place = place.has_parent_path() ? place.parent_path() : ".";
  if (!fs::is_directory(place, error))
    throw Error(Exit::cannot_create, folder.string(), ": ",
                fs::exists(place, error) ? place.string() + " is no folder" : "no such folder");
  if (::access(place.c_str(), W_OK | X_OK) != 0)
    throw Error(Exit::cannot_create, place.string(), ": ", std::strerror(errno));
}

std::string numbered_name(const std::string& pattern, int64_t number) {
  std::string name;
  int numbers = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      name += pattern[i];
      continue;
    }
    size_t end = i + 1;
    while (end < pattern.size() && std::isdigit(static_cast<unsigned char>(pattern[end]))) ++end;
    const auto width = pattern.substr(i + 1, end - i - 1);
    if (end == i + 1 && end < pattern.size() && pattern[end] == '%') {
      name += '%';
    } else if (end < pattern.size() && pattern[end] == 'd' && width.size() <= 2) {
      name += padded(number, width.empty() ? 1 : std::stoi(width));
      ++numbers;
    } else {
      numbers = -1000;
    }
    i = end;
  }
  if (numbers != 1)
    throw Error(Exit::usage, "--output ", pattern,
                ": expected one number in the pattern, as in frame-%05d.png");
  return name;
}

FrameSink::Kind FrameSink::kind_of(const std::string& output) {
  const auto suffix = lower_suffix(output);
  if (output == "-") return Kind::film;
  const bool image = suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg" || suffix == ".webp";
  if (image && output.find('%') != std::string::npos) return Kind::pattern;
  if (suffix == ".mp4" || suffix == ".webm") return Kind::film;
  if (suffix.empty() || fs::is_directory(output)) return Kind::folder;
  if (image) return Kind::image;
  throw Error(Exit::usage, "--output ", output,
              ": expected a folder, a pattern as frame-%05d.png, .png, .jpg, .webp, .mp4, .webm, "
              "or - for raw frames");
}

void FrameSink::check(const std::string& output) {
  const auto kind = kind_of(output);
  if (kind == Kind::folder) check_folder(output);
  if (kind == Kind::pattern) check_folder(fs::path(numbered_name(output, 0)).parent_path());
  if ((kind == Kind::film || kind == Kind::image) && output != "-")
    check_folder(fs::path(output).parent_path(), /*may_be_made=*/false);
  if (output == "-" && ::isatty(STDOUT_FILENO) == 1)
    throw Error(Exit::usage, "stdout is a terminal, and raw frames are no text: pipe them");
}

FrameSink::FrameSink(const std::string& output, double rate, const FrameNumbers& numbers)
    : kind_(kind_of(output)), output_(output), rate_(rate), numbers_(numbers) {
  if (kind_ == Kind::folder) make_folder(output);
}

FrameSink::~FrameSink() = default;

std::string FrameSink::name_of(int64_t number) const {
  if (kind_ == Kind::pattern) return numbered_name(output_, number);
  return (fs::path(output_) / (padded(number, numbers_.digits) + ".png")).string();
}

void FrameSink::add(const Image& frame) {
  const int64_t number = numbers_.first++;
  if (kind_ == Kind::folder || kind_ == Kind::pattern) {
    if (kind_ == Kind::pattern) make_folder(fs::path(name_of(number)).parent_path());
    write_image(name_of(number), frame);
  } else if (kind_ == Kind::image) {
    sheet_.push_back(frame);
  } else {
    if (!film_) film_ = std::make_unique<VideoWriter>(output_, frame.width, frame.height, rate_);
    film_->add(frame);
  }
}

void FrameSink::warn_of_others() const {
  if (kind_ != Kind::folder && kind_ != Kind::pattern) return;
  if (const auto next = name_of(numbers_.first); fs::exists(next))
    log::warning(next, ": is of other frames than these, and follows them: remove it, or write ",
                 "into an empty folder");
}

void FrameSink::finish() {
  warn_of_others();
  if (film_) film_->finish();
  if (sheet_.empty()) return;
  write_image(output_, sheet_.size() == 1 ? sheet_[0] : gallery(sheet_, 8));
}

Image gallery(const std::vector<Image>& frames, int64_t columns) {
  const auto count = static_cast<int64_t>(frames.size());
  std::vector<SheetRow> rows;
  for (int64_t first = 0; first < count; first += columns) {
    const int64_t end = std::min(first + columns, count);
    rows.push_back({concat(first, end - first > 1 ? concat(" - ", end - 1) : ""),
                    {frames.begin() + first, frames.begin() + end}});
  }
  return contact_sheet(rows);
}

}  // namespace lact::media
