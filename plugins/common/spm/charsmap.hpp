#pragma once
// A SentencePiece normaliser's character map: prefixes of the text and what they become.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::spm {

/// The map's longest rule that is looked at. The built-in ones (NFKC and the like) stay below 30
/// bytes.
constexpr size_t kMaxRuleBytes = 64;

/// `precompiled_charsmap`: the size of an index (4 bytes, little endian), a double-array index of
/// prefixes, and the replacements, each ended by a NUL.
/// Source: normalizer.cc of SentencePiece; Darts-clone's unit layout. Every step is checked against
/// the ends, so that a damaged map finds too little but never reads elsewhere.
class Charsmap {
 public:
  /// Errors   65 beginning with `name`, if the parts do not fit into one another
  Charsmap(std::string_view blob, const std::string& name);

  bool empty() const { return units_.empty(); }

  struct Rule {
    size_t length = 0;             ///< bytes of the text that it replaces
    std::string_view replacement;  ///< valid as long as the map
  };
  /// The longest rule for the beginning of `text`.
  std::optional<Rule> match(std::string_view text) const;
  /// Whether some rule may begin with all of `text`, so that cutting behind it could break it.
  bool may_continue(std::string_view text) const;

 private:
  /// Steps from unit `at` along `byte`; false if there is no way.
  bool step(uint32_t& at, unsigned char byte) const;
  static uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace lact::spm
