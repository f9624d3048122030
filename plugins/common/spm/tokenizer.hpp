#pragma once
// SentencePiece, made exact: any bytes in, ids out, the same bytes back.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::spm {

class Tokenizer {
 public:
  /// Reads a SentencePiece model, checked before the library sees it (piece count and lengths,
  /// ids, normaliser), because Debian's 0.1.97 crashes on some malformed ones.
  /// Errors   65 naming file and fault, 66
  static Tokenizer open(const std::filesystem::path& model);

  int vocab_size() const;
  /// XXH3 of the model file: what packed data and states are tied to.
  const std::string& hash() const;
  std::optional<int> bos() const, eos() const, pad() const;
  int unknown() const;
  /// Pieces <0x00> .. <0xFF> are all there: encode() loses nothing.
  bool exact() const;
  /// The piece as it is stored ("▁the", "<0x0A>", "</s>").
  std::string piece(int id) const;
  /// bos, eos, pad, unknown, control: decodes to nothing.
  bool control(int id) const;

  /// Ids of `text` (any bytes). With byte fallback, what SentencePiece alone would change (a
  /// literal U+2581, invalid UTF-8, ...) goes out as byte pieces, so that decode(encode(x)) == x.
  /// Where there is nothing to protect, the ids are SentencePiece's own.
  /// `continued`: the text goes on from text before it (no prefix space is added).
  std::vector<int32_t> encode(std::string_view text, bool continued = false) const;
  /// How many bytes encode() would not give back (0 if exact()).
  uint64_t lost_bytes(std::string_view text) const;

  std::string decode(const std::vector<int32_t>& ids) const;

  /// Decodes ids one at a time: returns the bytes that each adds. decode(a b c) is the
  /// concatenation. Bytes of an unfinished UTF-8 character may be held back: `pending` is part of a
  /// saved state.
  class Stream {
   public:
    explicit Stream(const Tokenizer& tokenizer, std::string pending = {}, bool at_start = true);
    std::string next(int32_t id);
    /// What is still held back.
    std::string flush();
    const std::string& pending() const { return pending_; }
    bool at_start() const { return at_start_; }

   private:
    const Tokenizer* tokenizer_;
    std::string pending_;
    bool at_start_;
  };

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lact::spm
