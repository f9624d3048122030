#include <lact/cli/run.hpp>
#include <lact/log.hpp>

#include <cmath>
#include <cstdio>

namespace lact::cli {
namespace {

/// 1234567 -> "1.23M": three digits are all that can be read while it changes.
std::string short_number(double value) {
  constexpr const char* kSuffix[] = {"", "k", "M", "G", "T", "P"};
  size_t step = 0;
  for (; std::abs(value) >= 1000 && step + 1 < std::size(kSuffix); ++step) value /= 1000;
  char text[32];
  const bool whole = step == 0 && value == std::floor(value);
  std::snprintf(text, sizeof text, whole ? "%.0f%s" : "%.3g%s", value, kSuffix[step]);
  return text;
}

std::string clock_text(double seconds) {
  const auto s = static_cast<long long>(seconds + 0.5);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
  return text;
}

}  // namespace

Progress::Progress(std::string what, double total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      start_(std::chrono::steady_clock::now()),
      drawn_() {}

Progress::~Progress() {
  log::status("");
}

void Progress::set(double done, std::string_view note) {
  if (!log::terminal()) return;
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
  }
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double rate = elapsed > 0 ? done / elapsed : 0;
  std::string line = what_ + "  " + short_number(done);
  if (total_ > 0) line += "/" + short_number(total_);
  line += " " + unit_;
  if (total_ > 0) line += concat("  ", static_cast<int>(100 * std::min(1.0, done / total_)), "%");
  // A rate from the first instant says nothing.
  if (elapsed > 0.5 && rate > 0) {
    line += "  " + short_number(rate) + " " + unit_ + "/s";
    if (total_ > done) line += "  " + clock_text((total_ - done) / rate) + " left";
  }
  if (!note.empty()) line += "  " + std::string(note);
  log::status(line);
}

}  // namespace lact::cli
