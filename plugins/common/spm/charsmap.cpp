#include "charsmap.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cstring>

namespace lact::spm {
namespace {

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

Charsmap::Charsmap(std::string_view blob, const std::string& name) {
  if (blob.empty()) return;
  const auto fail = [&](const auto&... parts) {
    throw Error(Exit::data, name, ": precompiled_charsmap: ", parts...);
  };
  if (blob.size() <= 4) fail(blob.size(), " bytes are too few");
  const uint32_t size = little_endian(blob);
  blob.remove_prefix(4);
  if (size >= blob.size())
    fail("an index of ", size, " bytes is announced, ", blob.size(), " follow");
  if (size == 0 || size % 4 != 0) fail("an index of ", size, " bytes, expected a multiple of 4");
  for (size_t i = 0; i < size; i += 4) units_.push_back(little_endian(blob.substr(i)));
  replacements_ = blob.substr(size);
  if (replacements_.back() != '\0') fail("the last replacement has no end");
}

bool Charsmap::step(uint32_t& at, unsigned char byte) const {
  const uint32_t next = at ^ byte;
  if (next >= units_.size()) return false;
  const uint32_t unit = units_[next];
  if ((unit & ((1u << 31) | 0xff)) != byte) return false;
  at = next ^ offset(unit);
  return at < units_.size();
}

std::optional<Charsmap::Rule> Charsmap::match(std::string_view text) const {
  if (units_.empty()) return {};
  std::optional<Rule> found;
  uint32_t at = offset(units_[0]);
  if (at >= units_.size()) return {};
  for (size_t i = 0; i < std::min(text.size(), kMaxRuleBytes); ++i) {
    const uint32_t from = at ^ static_cast<unsigned char>(text[i]);
    if (!step(at, static_cast<unsigned char>(text[i]))) break;
    if ((units_[from] >> 8 & 1) == 0) continue;  // no rule ends here
    const uint32_t value = units_[at] & 0x7fffffff;
    if (value >= replacements_.size()) continue;
    found = Rule{i + 1, std::string_view(replacements_.c_str() + value)};
  }
  return found;
}

bool Charsmap::may_continue(std::string_view text) const {
  if (units_.empty() || text.size() >= kMaxRuleBytes) return false;
  uint32_t at = offset(units_[0]);
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return step(at, static_cast<unsigned char>(c)); });
}

}  // namespace lact::spm
