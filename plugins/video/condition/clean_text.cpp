#include "clean_text.hpp"

#include <plugins/common/spm/model_file.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace lact::video {
namespace {

using Text = std::u32string;
using spm::utf8_decode;
using spm::utf8_length;

constexpr char32_t kReplacement = 0xfffd;
constexpr int kMostRepairs = 4;  // misreadings one after another

Text characters(std::string_view bytes) {
  Text text;
  while (!bytes.empty()) {
    const size_t length = utf8_length(bytes);
    text += length == 0 ? kReplacement : utf8_decode(bytes.data(), length);
    bytes.remove_prefix(std::max<size_t>(1, length));
  }
  return text;
}

std::string bytes_of(const Text& text) {
  std::string out;
  const auto add = [&](char32_t bits) { out += static_cast<char>(bits); };
  for (const char32_t c : text) {
    if (c < 0x80) {
      add(c);
    } else if (c < 0x800) {
      add(0xc0 | c >> 6), add(0x80 | (c & 63));
    } else if (c < 0x10000) {
      add(0xe0 | c >> 12), add(0x80 | (c >> 6 & 63)), add(0x80 | (c & 63));
    } else {
      add(0xf0 | c >> 18), add(0x80 | (c >> 12 & 63)), add(0x80 | (c >> 6 & 63));
      add(0x80 | (c & 63));
    }
  }
  return out;
}

// --- mojibake ------------------------------------------------------------------------------------

/// Characters of Windows-1252's bytes 0x80 to 0x9f; 0 where it has none.
constexpr std::array<char32_t, 32> kWindows = {
    0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

/// The byte above 0x7f that this character is in Windows-1252 or Latin-1; 0 if it is none.
unsigned char high_byte(char32_t c) {
  if (c >= 0x80 && c < 0x100) return static_cast<unsigned char>(c);
  const auto* found = std::find(kWindows.begin(), kWindows.end(), c);
  if (c == 0 || found == kWindows.end()) return 0;
  return static_cast<unsigned char>(0x80 + (found - kWindows.begin()));
}

/// The character whose UTF-8 bytes stand as characters at `at`, and how many.
std::pair<char32_t, size_t> misread(const Text& text, size_t at) {
  std::string bytes;
  for (size_t i = at; i < std::min(at + 4, text.size()) && high_byte(text[i]) != 0; ++i)
    bytes += static_cast<char>(high_byte(text[i]));
  const size_t length = utf8_length(bytes);
  if (length < 2) return {0, 0};
  return {utf8_decode(bytes.data(), length), length};
}

/// One misreading undone; two bytes alone might be meant ("CAFÉ»"), unless they begin with Â or Ã.
Text repaired(const Text& text) {
  Text out;
  bool after_misread = false;
  for (size_t at = 0; at < text.size();) {
    const auto [c, length] = misread(text, at);
    const bool latin = text[at] == U'Â' || text[at] == U'Ã';
    const bool meant = length == 2 && !latin && !after_misread && misread(text, at + 2).second == 0;
    after_misread = length > 0 && !meant;
    out += after_misread ? c : text[at];
    at += after_misread ? length : 1;
  }
  return out;
}

// --- characters ----------------------------------------------------------------------------------

/// What ftfy writes for characters that are meant as others; "" if the character stays.
std::u32string_view plainer(char32_t c) {
  switch (c) {
    case 0x2018:
    case 0x2019:
    case 0x201a:
    case 0x201b:
      return U"'";
    case 0x201c:
    case 0x201d:
    case 0x201e:
    case 0x201f:
      return U"\"";
    case 0xfb00:
      return U"ff";
    case 0xfb01:
      return U"fi";
    case 0xfb02:
      return U"fl";
    case 0xfb03:
      return U"ffi";
    case 0xfb04:
      return U"ffl";
    default:
      return {};
  }
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

Text plain(const Text& text) {
  Text out;
  for (const char32_t c : text) {
    const auto other = plainer(c);
    if (!other.empty())
      out += other;
    else if (c >= 0xff01 && c <= 0xff5e)
      out += c - 0xff01 + U'!';
    else if (is_space(c) || !is_control(c))
      out += c;
  }
  return out;
}

// --- HTML ----------------------------------------------------------------------------------------

/// Names of U+00A0 to U+00FF.
constexpr std::array<std::string_view, 96> kLatin = {
    "nbsp",   "iexcl",  "cent",   "pound",  "curren", "yen",    "brvbar", "sect",   "uml",
    "copy",   "ordf",   "laquo",  "not",    "shy",    "reg",    "macr",   "deg",    "plusmn",
    "sup2",   "sup3",   "acute",  "micro",  "para",   "middot", "cedil",  "sup1",   "ordm",
    "raquo",  "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc",  "Atilde",
    "Auml",   "Aring",  "AElig",  "Ccedil", "Egrave", "Eacute", "Ecirc",  "Euml",   "Igrave",
    "Iacute", "Icirc",  "Iuml",   "ETH",    "Ntilde", "Ograve", "Oacute", "Ocirc",  "Otilde",
    "Ouml",   "times",  "Oslash", "Ugrave", "Uacute", "Ucirc",  "Uuml",   "Yacute", "THORN",
    "szlig",  "agrave", "aacute", "acirc",  "atilde", "auml",   "aring",  "aelig",  "ccedil",
    "egrave", "eacute", "ecirc",  "euml",   "igrave", "iacute", "icirc",  "iuml",   "eth",
    "ntilde", "ograve", "oacute", "ocirc",  "otilde", "ouml",   "divide", "oslash", "ugrave",
    "uacute", "ucirc",  "uuml",   "yacute", "thorn",  "yuml"};
constexpr std::array<std::pair<std::string_view, char32_t>, 22> kNamed = {{
    {"amp", U'&'},     {"lt", U'<'},      {"gt", U'>'},      {"quot", U'"'},    {"apos", U'\''},
    {"OElig", 0x152},  {"oelig", 0x153},  {"Scaron", 0x160}, {"scaron", 0x161}, {"Yuml", 0x178},
    {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", 0x2018}, {"rsquo", 0x2019}, {"sbquo", 0x201a},
    {"ldquo", 0x201c}, {"rdquo", 0x201d}, {"bdquo", 0x201e}, {"bull", 0x2022},  {"hellip", 0x2026},
    {"euro", 0x20ac},  {"trade", 0x2122},
}};
constexpr size_t kLongestEntity = 10;  // between & and ;

/// Of "#233" or "#xe9"; 0 if it is no number.
char32_t numbered(std::string_view entity) {
  entity.remove_prefix(1);
  const bool hex = !entity.empty() && (entity[0] == 'x' || entity[0] == 'X');
  if (hex) entity.remove_prefix(1);
  uint64_t number = 0;
  for (const char c : entity) {
    const int digit = c >= '0' && c <= '9'          ? c - '0'
                      : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                    : -1;
    if (digit < 0) return 0;
    number = number * (hex ? 16 : 10) + static_cast<uint64_t>(digit);
  }
  if (entity.empty()) return 0;
  if (number >= 0x80 && number < 0xa0 && kWindows[number - 0x80] != 0)
    return kWindows[number - 0x80];
  const bool character = number != 0 && number < 0x110000 && (number < 0xd800 || number > 0xdfff);
  return character ? static_cast<char32_t>(number) : kReplacement;
}

/// The character that an entity stands for; 0 if it is none that is known.
char32_t entity_character(std::string_view entity) {
  if (entity.starts_with('#')) return numbered(entity);
  for (const auto& [name, c] : kNamed)
    if (name == entity) return c;
  const auto* found = std::find(kLatin.begin(), kLatin.end(), entity);
  return found == kLatin.end() ? 0 : static_cast<char32_t>(0xa0 + (found - kLatin.begin()));
}

Text unescaped(const Text& text) {
  Text out;
  for (size_t at = 0; at < text.size(); ++at) {
    const size_t end = text[at] == U'&' ? text.find(U';', at) : Text::npos;
    char32_t c = 0;
    if (end != Text::npos && end - at - 1 <= kLongestEntity)
      c = entity_character(bytes_of(text.substr(at + 1, end - at - 1)));
    out += c != 0 ? c : text[at];
    if (c != 0) at = end;
  }
  return out;
}

Text collapsed(const Text& text) {
  Text out;
  for (const char32_t c : text) {
    if (!is_space(c))
      out += c;
    else if (!out.empty() && out.back() != U' ')
      out += U' ';
  }
  if (!out.empty() && out.back() == U' ') out.pop_back();
  return out;
}

}  // namespace

std::string clean_prompt(std::string_view bytes) {
  auto text = characters(bytes);
  for (int i = 0; i < kMostRepairs; ++i) text = repaired(text);
  return bytes_of(collapsed(unescaped(unescaped(plain(text)))));
}

}  // namespace lact::video
