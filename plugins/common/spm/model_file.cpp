#include "model_file.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <unordered_set>

namespace lact::spm {
namespace {

/// Protocol-buffer wire format, read with every length checked.
/// Source: https://protobuf.dev/programming-guides/encoding
class Wire {
 public:
  Wire(std::string_view bytes, std::string where) : rest_(bytes), where_(std::move(where)) {}

  struct Field {
    uint32_t number = 0;
    int kind = 0;        ///< 0 varint, 1 eight bytes, 2 a length and that many bytes, 5 four bytes
    uint64_t value = 0;  ///< kinds 0, 1, 5
    std::string_view bytes;  ///< kind 2
  };

  std::optional<Field> next() {
    if (rest_.empty()) return {};
    Field field;
    const uint64_t tag = varint();
    if (tag >> 3 == 0 || tag >> 32 != 0) fail("a field number out of range");
    field.number = static_cast<uint32_t>(tag >> 3);
    field.kind = static_cast<int>(tag & 7);
    if (field.kind == 0)
      field.value = varint();
    else if (field.kind == 1)
      field.value = fixed(8);
    else if (field.kind == 5)
      field.value = fixed(4);
    else if (field.kind == 2)
      field.bytes = take(varint());
    else
      fail(concat("wire type ", field.kind, " in field ", field.number));
    return field;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Exit::data, where_, ": ", what);
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) fail("ends in the middle of a number");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) fail("a number of more than 64 bits");
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than 64 bits");
  }

  uint64_t fixed(size_t size) {
    const auto bytes = take(size);
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  std::string_view take(uint64_t size) {
    if (size > rest_.size())
      fail(concat("truncated: ", size, " bytes announced, ", rest_.size(), " left"));
    const auto bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  std::string_view rest_;
  std::string where_;
};

/// Reads one model file; `name_` begins every complaint.
class ModelFileReader {
 public:
  ModelFileReader(ModelFile& model, const std::string& name) : model_(model), name_(name) {}

  void file(std::string_view bytes) {
    if (bytes.empty()) fail("empty, not a SentencePiece model");
    if (const auto other = other_make(bytes); !other.empty())
      fail("not a SentencePiece model; ", other);
    Wire wire(bytes, name_);
    while (const auto field = wire.next()) {
      if (field->number == 1) piece(bytes_of(*field, "pieces"));
      if (field->number == 2) trainer(bytes_of(*field, "trainer_spec"));
      if (field->number == 3) normalizer(bytes_of(*field, "normalizer_spec"));
      // 4 (self-test samples) and 5 (denormaliser) change neither ids nor our bytes.
    }
    check();
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw Error(Exit::data, name_, ": ", parts...);
  }

  /// What else goes by such a name, by its first line; "" if it may be a model. A model begins with
  /// a piece, whose first byte is a line feed.
  static std::string other_make(std::string_view bytes) {
    const auto line = bytes.substr(0, bytes.find('\n'));
    if (line.empty()) return {};
    if (line.starts_with("version https://git-lfs"))
      return "this is a Git LFS pointer: 'git lfs pull' fetches the file itself";
    const auto first = bytes.find_first_not_of(" \t\r\n");
    if (first != bytes.npos && bytes[first] == '{')
      return "this looks like a tokenizer.json of Hugging Face, which is not read";
    const auto space = line.find(' ');
    const auto all = [&](std::string_view part, bool (*is)(char)) {
      return !part.empty() && std::all_of(part.begin(), part.end(), is);
    };
    const bool tiktoken =
        space != line.npos &&
        all(line.substr(0, space),
            [](char c) {
              return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '+' || c == '/' || c == '=';
            }) &&
        all(line.substr(space + 1), [](char c) { return (c >= '0' && c <= '9') || c == '\r'; });
    return tiktoken ? "this looks like a tiktoken file, which is not read" : "";
  }

  std::string_view bytes_of(const Wire::Field& field, const char* what) const {
    if (field.kind != 2) fail(what, ": expected bytes, found wire type ", field.kind);
    return field.bytes;
  }
  uint64_t number_of(const Wire::Field& field, const char* what) const {
    if (field.kind != 0) fail(what, ": expected a number, found wire type ", field.kind);
    return field.value;
  }
  bool flag_of(const Wire::Field& field, const char* what) const {
    return number_of(field, what) != 0;
  }
  std::string text_of(const Wire::Field& field, const char* what) const {
    const auto bytes = bytes_of(field, what);
    if (bytes.size() > kMaxPieceBytes)
      fail(what, ": ", bytes.size(), " bytes, expected at most ", kMaxPieceBytes);
    for (auto rest = bytes; !rest.empty(); rest.remove_prefix(utf8_length(rest)))
      if (utf8_length(rest) == 0) fail(what, ": not UTF-8 at byte ", bytes.size() - rest.size());
    return std::string(bytes);
  }

  void piece(std::string_view bytes) {
    const std::string where = "piece " + std::to_string(model_.pieces.size());
    if (model_.pieces.size() >= kMaxPieces) fail("more than ", kMaxPieces, " pieces");
    Piece piece;
    Wire wire(bytes, name_ + ": " + where);
    while (const auto field = wire.next()) {
      if (field->number == 1) piece.text = text_of(*field, where.c_str());
      if (field->number == 2) {
        if (field->kind != 5) fail(where, ": score: expected a float");
        const auto bits = static_cast<uint32_t>(field->value);
        std::memcpy(&piece.score, &bits, sizeof bits);
      }
      if (field->number == 3) {
        const uint64_t type = number_of(*field, where.c_str());
        if (type < 1 || type > 6) fail(where, ": unknown type ", type);
        piece.type = static_cast<PieceType>(type);
      }
    }
    // The library sums scores in float32: sums of huge ones would overflow. (-1e9 is in real
    // files.)
    if (!(std::abs(piece.score) <= 1e30f)) fail(where, ": score ", piece.score, " is out of range");
    if (piece.text.empty()) fail(where, ": empty");
    model_.pieces.push_back(std::move(piece));
  }

  void trainer(std::string_view bytes) {
    Wire wire(bytes, name_ + ": trainer_spec");
    while (const auto field = wire.next()) {
      const auto id = [&](int slot, const char* what) {
        // Negative numbers (a symbol that is switched off) are ten bytes long on the wire.
        ids_[slot] = {what, static_cast<int64_t>(number_of(*field, what))};
      };
      switch (field->number) {
        case 3: {
          const uint64_t type = number_of(*field, "model_type");
          if (type < 1 || type > 4) fail("trainer_spec: unknown model_type ", type);
          model_.type = static_cast<ModelType>(type);
          break;
        }
        case 24:
          if (flag_of(*field, "treat_whitespace_as_suffix"))
            fail("trainer_spec: models with treat_whitespace_as_suffix are not supported");
          break;
        case 35:
          model_.byte_fallback = flag_of(*field, "byte_fallback");
          break;
        case 40:
          id(0, "unk_id");
          break;
        case 41:
          id(1, "bos_id");
          break;
        case 42:
          id(2, "eos_id");
          break;
        case 43:
          id(3, "pad_id");
          break;
        case 44:
          model_.unk_surface = text_of(*field, "unk_surface");
          break;
        case 46:
          name(model_.bos_piece, *field, "bos_piece");
          break;
        case 47:
          name(model_.eos_piece, *field, "eos_piece");
          break;
        case 48:
          name(model_.pad_piece, *field, "pad_piece");
          break;
        default:
          break;
      }
    }
  }

  void name(std::string& into, const Wire::Field& field, const char* what) const {
    auto text = text_of(field, what);
    if (!text.empty()) into = std::move(text);  // empty means the default
  }

  void normalizer(std::string_view bytes) {
    Wire wire(bytes, name_ + ": normalizer_spec");
    while (const auto field = wire.next()) {
      if (field->number == 2) model_.charsmap = bytes_of(*field, "precompiled_charsmap");
      if (field->number == 3) model_.add_dummy_prefix = flag_of(*field, "add_dummy_prefix");
      if (field->number == 4)
        model_.remove_extra_whitespaces = flag_of(*field, "remove_extra_whitespaces");
      if (field->number == 5 && !flag_of(*field, "escape_whitespaces"))
        fail("normalizer_spec: models without escape_whitespaces are not supported");
    }
  }

  void check() {
    if (model_.pieces.empty()) fail("has no pieces: not a SentencePiece model");
    std::unordered_set<std::string_view> text, reserved;
    size_t bytes = 0;
    for (size_t i = 0; i < model_.pieces.size(); ++i) {
      const Piece& piece = model_.pieces[i];
      const bool is_text = piece.type == PieceType::normal ||
                           piece.type == PieceType::user_defined || piece.type == PieceType::unused;
      if (!(is_text ? text : reserved).insert(piece.text).second)
        fail("piece ", i, ": \"", io::printable(piece.text), "\" is there twice");
      if (piece.type == PieceType::unknown) {
        if (model_.unknown >= 0)
          fail("piece ", i, ": a second unknown piece, after ", model_.unknown);
        model_.unknown = static_cast<int>(i);
      }
      if (piece.type == PieceType::byte) {
        if (!model_.byte_fallback) fail("piece ", i, ": a byte piece, though byte_fallback is off");
        if (!is_byte_piece(piece.text))
          fail("piece ", i, ": \"", io::printable(piece.text),
               "\" is no byte, expected <0x00> to <0xFF>");
        ++bytes;
      }
      if (piece.text == "\u2581" && !is_text)
        fail("piece ", i, ": the space symbol is not a piece of text");
    }
    if (model_.unknown < 0) fail("has no unknown piece");
    if (text.empty()) fail("has no piece of text");
    if (model_.byte_fallback && bytes != 256)
      fail("byte_fallback needs 256 byte pieces, found ", bytes);
    for (const auto& [what, id] : ids_)
      if (what != nullptr && id >= static_cast<int64_t>(model_.pieces.size()))
        fail("trainer_spec: ", what, " is ", id, ", but there are ", model_.pieces.size(),
             " pieces");
    check_nesting();
  }

  static bool is_byte_piece(std::string_view text) {
    const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
    return text.size() == 6 && text.substr(0, 3) == "<0x" && digit(text[3]) && digit(text[4]) &&
           text[5] == '>';
  }

  /// The library looks user symbols up into an array of 64 results without asking how many there
  /// are.
  void check_nesting() const {
    std::unordered_set<std::string_view> symbols;
    for (const auto& piece : model_.pieces)
      if (piece.type == PieceType::user_defined) symbols.insert(piece.text);
    if (symbols.size() <= 64) return;
    for (const auto symbol : symbols) {
      size_t inside = 0;
      for (size_t n = 1; n <= symbol.size(); ++n) inside += symbols.count(symbol.substr(0, n));
      if (inside > 64) fail("more than 64 user-defined symbols begin with one another");
    }
  }

  struct NamedId {
    const char* what = nullptr;
    int64_t id = 0;
  };
  ModelFile& model_;
  const std::string& name_;
  NamedId ids_[4];
};

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_number(std::string& out, uint32_t field, uint64_t value) {
  put_varint(out, field << 3);
  put_varint(out, value);
}
void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_float(std::string& out, uint32_t field, float value) {
  put_varint(out, field << 3 | 5);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i));
}

}  // namespace

ModelFile ModelFile::parse(std::string_view bytes, const std::string& name) {
  ModelFile model;
  model.unk_surface = " \u2047 ";
  ModelFileReader(model, name).file(bytes);
  return model;
}

std::string ModelFile::for_library() const {
  auto plain = *this;
  plain.add_dummy_prefix = plain.remove_extra_whitespaces = false;
  return plain.to_bytes();
}

std::optional<int32_t> ModelFile::control(std::string_view text) const {
  for (size_t id = 0; id < pieces.size(); ++id)
    if (pieces[id].type == PieceType::control && pieces[id].text == text)
      return static_cast<int32_t>(id);
  return {};
}

std::string ModelFile::to_bytes() const {
  std::unordered_set<std::string_view> names;
  for (const auto& piece : pieces) names.insert(piece.text);
  std::string out;
  for (size_t i = 0; i < pieces.size(); ++i) {
    Piece piece = pieces[i];
    const bool indexed = type == ModelType::unigram || piece.type == PieceType::user_defined;
    if (indexed && piece.text.find('\0') != std::string::npos) {
      piece.text = concat("<nul-", i, ">");
      while (names.count(piece.text) > 0) piece.text += '>';
      piece.type = PieceType::control;
    }
    std::string one;
    put_bytes(one, 1, piece.text);
    put_float(one, 2, piece.score);
    put_number(one, 3, static_cast<uint64_t>(piece.type));
    put_bytes(out, 1, one);
  }
  std::string trainer, normalizer;
  put_number(trainer, 3, static_cast<uint64_t>(type));
  put_number(trainer, 35, byte_fallback ? 1 : 0);
  put_bytes(out, 2, trainer);
  put_number(normalizer, 3, add_dummy_prefix ? 1 : 0);
  put_number(normalizer, 4, remove_extra_whitespaces ? 1 : 0);
  put_number(normalizer, 5, 1);  // escape_whitespaces
  put_bytes(out, 3, normalizer);
  return out;
}

std::string spaces_for_symbols(std::string_view piece) {
  std::string text;
  for (size_t at = 0; at < piece.size();) {
    const bool symbol = piece.substr(at, 3) == "\u2581";
    text += symbol ? ' ' : piece[at];
    at += symbol ? 3 : 1;
  }
  return text;
}

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i) { return i < text.size() && (at(i) & 0xc0) == 0x80; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4 || !follows(1)) return 0;
  if (lead < 0xe0) return 2;
  if (!follows(2)) return 0;
  if (lead < 0xf0) {
    if (lead == 0xe0 && at(1) < 0xa0) return 0;  // overlong
    if (lead == 0xed && at(1) > 0x9f) return 0;  // surrogates
    return 3;
  }
  if (!follows(3)) return 0;
  if (lead == 0xf0 && at(1) < 0x90) return 0;  // overlong
  if (lead == 0xf4 && at(1) > 0x8f) return 0;  // above U+10FFFF
  return 4;
}

char32_t utf8_decode(const char* bytes, size_t length) {
  const auto low = [&](size_t i) { return static_cast<char32_t>(bytes[i] & 0x3f); };
  switch (length) {
    case 1:
      return static_cast<unsigned char>(bytes[0]);
    case 2:
      return (static_cast<char32_t>(bytes[0] & 0x1f) << 6) | low(1);
    case 3:
      return (static_cast<char32_t>(bytes[0] & 0x0f) << 12) | (low(1) << 6) | low(2);
    default:
      return (static_cast<char32_t>(bytes[0] & 0x07) << 18) | (low(1) << 12) | (low(2) << 6) |
             low(3);
  }
}

}  // namespace lact::spm
