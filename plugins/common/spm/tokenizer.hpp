#pragma once
// SentencePiece, made exact where a model does not normalise: any bytes in, ids out, the same bytes
// back.

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
  /// Reads a SentencePiece model (unigram, BPE, character, word), checked before the library sees
  /// it (piece count and lengths, ids, normaliser), because Debian's 0.1.97 crashes on some
  /// malformed ones. Errors   65 naming file and fault, 66
  static Tokenizer open(const std::filesystem::path& model);

  int vocab_size() const;
  /// XXH3 of the model file: what packed data and states are tied to.
  const std::string& hash() const;
  std::optional<int> bos() const, eos() const, pad() const;
  int unknown() const;
  /// Pieces <0x00> .. <0xFF> are all there and the model normalises nothing (no character map, no
  /// removal of spaces): encode() loses nothing.
  bool exact() const;
  /// Pieces <0x00> .. <0xFF> are all there.
  bool byte_fallback() const;
  /// The piece as it is stored ("▁the", "<0x0A>", "</s>").
  std::string piece(int id) const;
  /// bos, eos, pad, unknown, control: decodes to nothing.
  bool control(int id) const;

  /// Ids of `text` (any bytes). If exact(), what SentencePiece alone would change (a literal
  /// U+2581, invalid UTF-8, the name of a control piece) goes out as byte pieces, so that
  /// decode(encode(x)) == x. All other ids are SentencePiece's own: a model that normalises was
  /// made to, and its ids are known under its name.
  /// `continued`: the text goes on from text before it (no prefix space is added).
  ///
  /// Not bound to SentencePiece's choice are: texts longer than a segment of a unigram model,
  /// because SentencePiece sums log-probabilities over the whole text in float32 and loses the
  /// digits that decide (here every segment starts from zero); and the prefix space, which is not
  /// added where a text begins with a byte piece. Models of whole words keep their ids up to the
  /// next space.
  std::vector<int32_t> encode(std::string_view text, bool continued = false) const;
  /// SentencePiece's own ids, of the text as the model's normaliser leaves it: for networks that
  /// were trained on them and only read. With byte fallback, too, nothing is protected.
  std::vector<int32_t> encode_normalized(std::string_view text) const;
  /// How many bytes encode() would not give back (0 if exact()).
  uint64_t lost_bytes(std::string_view text, bool continued = false) const;

  /// A text is encoded in segments of some 32 KiB, cut where no piece of the vocabulary can span
  /// the cut, so that ids depend on the text alone and not on the blocks it arrives in. encode() is
  /// encode_segment() over all of them; who reads a long text does the same with constant memory,
  /// and on many threads.
  ///
  /// Length of the next segment. `rest` begins where the one before it ended; `complete` if nothing
  /// follows `rest`. Returns 0 if more of the text must be seen first.
  /// Where nothing can be cut for 1 MiB, a character boundary is taken: bytes come back all the
  /// same, ids may differ from SentencePiece's there.
  size_t next_segment(std::string_view rest, bool complete) const;
  /// Appends the ids of one segment of a text; `first` and `last` tell its place in it.
  void encode_segment(std::string_view segment, bool first, bool last,
                      std::vector<int32_t>& ids) const;
  /// Appends the ids of a segment to those before it. (Without byte fallback, unknown characters in
  /// a row are one id, also across a cut.)
  void join(std::vector<int32_t>& ids, const std::vector<int32_t>& more) const;

  /// Bytes of `ids`: control pieces are nothing; the prefix space, if the model adds one, goes.
  /// Errors   65 if an id is not of this vocabulary
  std::string decode(const std::vector<int32_t>& ids) const;

  /// Decodes ids one at a time: returns the bytes that each adds. decode(a b c) is the
  /// concatenation. Bytes of an unfinished UTF-8 character (at most three) are held back: `pending`
  /// is part of a saved state.
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
  friend class Stream;
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lact::spm
