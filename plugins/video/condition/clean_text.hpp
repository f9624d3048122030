#pragma once
// Prompts as Wan's text encoder was trained to see them.

#include <string>
#include <string_view>

namespace lact::video {

/// What Wan 2.1 does to a prompt before its tokenizer (ftfy, html.unescape twice, white space), as
/// far as it changes the tokens of real prompts:
/// - UTF-8 that was read as Windows-1252 or Latin-1 ("cafÃ©", "â€™") becomes what it was, up to
///   four times over: sequences of three and four bytes, and of two bytes where they
///   begin with Â or Ã or stand together. Text that has no such sequence stays;
/// - curly quotes become straight ones, fullwidth forms ASCII, ligatures of f letters;
/// - control characters go, byte order marks too;
/// - HTML's numbered entities, and the named ones of Latin-1, quotes, dashes, bullets, euro and
///   trade mark, each ended by a semicolon, are replaced, twice;
/// - runs of white space (Unicode's) become one space, none at the ends.
/// Not covered: ftfy's other code pages and lossy repairs, composition (NFC; the tokenizer's
/// normaliser composes), the other 1900 named entities and those without a semicolon.
/// Malformed UTF-8 becomes U+FFFD, one for each byte.
std::string clean_prompt(std::string_view text);

}  // namespace lact::video
