#pragma once
// Sizes of frames and images as options say them.

#include <cstdint>
#include <string>
#include <utility>

namespace lact::media {

/// "256" or "320x240": width and height, 1 to 16384. Errors: 64 naming `option`
std::pair<int64_t, int64_t> parse_size(const std::string& text, const std::string& option);

}  // namespace lact::media
