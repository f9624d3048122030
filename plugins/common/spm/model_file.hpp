#pragma once
// A SentencePiece .model file, read and checked by us before the library sees any of it.
// Source: sentencepiece_model.proto of https://github.com/google/sentencepiece (0.1.97).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::spm {

/// Kinds of pieces, with the file's numbers.
enum class PieceType {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};
enum class ModelType { unigram = 1, bpe = 2, word = 3, character = 4 };

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

/// Longer pieces are refused: the library builds its index by recursion, a level a byte, and a
/// piece of 400 kB overflows its stack. Real ones have at most a few dozen bytes.
constexpr size_t kMaxPieceBytes = 4096;
constexpr size_t kMaxPieces = size_t{1} << 24;

/// What of a model file decides ids and text.
struct ModelFile {
  std::vector<Piece> pieces;
  ModelType type = ModelType::unigram;
  bool byte_fallback = false;
  std::string unk_surface, bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
  int unknown = -1;
  // the normaliser
  std::string charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;

  /// Reads and checks the bytes of a file called `name`.
  /// Errors   65 naming the file, the fault and its place
  static ModelFile parse(std::string_view bytes, const std::string& name);

  /// The id of the control piece of that name.
  std::optional<int32_t> control(std::string_view text) const;

  /// A fresh file of these fields, without `charsmap`. Pieces that hold a NUL, which the library's
  /// index cannot, become control pieces of another name where that index is used.
  std::string to_bytes() const;
  /// The same with a normaliser that changes nothing and adds nothing: the Tokenizer does that
  /// part.
  std::string for_library() const;
};

/// The text that a piece stands for: U+2581 becomes a space.
std::string spaces_for_symbols(std::string_view piece);

/// Length of the UTF-8 character at the start of `text`, 0 if there is none (overlong forms,
/// surrogates and what lies above U+10FFFF are none).
size_t utf8_length(std::string_view text);
/// The character of a valid sequence of `length` bytes.
char32_t utf8_decode(const char* bytes, size_t length);

}  // namespace lact::spm
