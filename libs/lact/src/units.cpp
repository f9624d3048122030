#include <lact/units.hpp>

#include <cstdio>
#include <iterator>

namespace lact {
namespace {

/// 1234567 and 1000 -> "1.23 M".
std::string scaled(double value, double base, const char* tail) {
  constexpr const char* kPrefixes[] = {"", "K", "M", "G", "T", "P", "E"};
  size_t step = 0;
  for (; value >= base && step + 1 < std::size(kPrefixes); ++step) value /= base;
  char text[64];
  if (step == 0)
    std::snprintf(text, sizeof text, "%.0f", value);
  else
    std::snprintf(text, sizeof text, "%.2f %s%s", value, kPrefixes[step], tail);
  return text;
}

}  // namespace

std::string bytes_text(double bytes) {
  return bytes < 1024 ? scaled(bytes, 1024, "") + " B" : scaled(bytes, 1024, "iB");
}

std::string count_text(double count) {
  return scaled(count, 1000, "");
}

}  // namespace lact
