#include "size.hpp"

#include <lact/error.hpp>

#include <charconv>

namespace lact::media {
namespace {

constexpr int64_t kLargestSide = 16384;

}  // namespace

std::pair<int64_t, int64_t> parse_size(const std::string& text, const std::string& option) {
  const auto side = [&](const std::string& part) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 1 ||
        value > kLargestSide)
      throw Error(Exit::usage, option, " ", text, ": expected N or WIDTHxHEIGHT, 1 to ",
                  kLargestSide);
    return value;
  };
  const auto cross = text.find('x');
  if (cross == text.npos) return {side(text), side(text)};
  return {side(text.substr(0, cross)), side(text.substr(cross + 1))};
}

}  // namespace lact::media
