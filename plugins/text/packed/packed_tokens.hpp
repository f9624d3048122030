#pragma once
// Packed token data: what lact-tokenize text encode writes and lact-train reads.
//
// A safetensors file, memory-mapped:
//   tokens     U16 [T], or U32 where vocab_size > 65536: documents one after another
//   documents  U64 [D + 1]: where each begins, never falling; the first is 0, the last T
//   padding    U8, at most 7 zeros, so that documents is aligned; to be ignored
//   scored     U8 [T], if it is there: 1 for each token whose prediction counts, in training and
//              when it is measured; without it all do
// Checksums (see io/safetensors.hpp), which files made by others may lack.
// Metadata: lact.kind = "tokens", lact.version = "1", vocab_size, tokenizer (XXH3 of
// tokenizer.model), bytes (of text), split ("train", "validation").

#include <lact/io/safetensors.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lact::text {

class PackedTokens {
 public:
  /// Does not read the tokens, which may be many.
  /// Errors   65 if it is no token data, contradicts itself or is damaged but for the tokens, 66 if
  ///          it cannot be read
  static PackedTokens open(const std::filesystem::path& file);
  /// Compares all with the checksums, if the file has any; reads all.
  /// Errors   65 naming the tensor that is damaged
  void verify() const;

  int64_t tokens() const;
  int64_t documents() const;
  int64_t vocab_size() const;
  /// XXH3 of the tokenizer.model that made it.
  const std::string& tokenizer() const;
  /// Errors   65 naming `file` if it was made with another one than `whose` has
  void require_tokenizer(const std::string& hash, const std::filesystem::path& file,
                         const std::string& whose = "the model's is") const;
  /// Bytes of text that the tokens were made from.
  uint64_t text_bytes() const;
  /// Ids [begin, end) as int64. Errors: 65 naming the place if one is not below vocab_size.
  at::Tensor ids(int64_t begin, int64_t end) const;
  /// Of the tokens [begin, end), bool: whether its prediction counts. Undefined: all do.
  at::Tensor scored(int64_t begin, int64_t end) const;
  /// The number of the document each of the tokens [begin, end) belongs to, int64.
  at::Tensor document_numbers(int64_t begin, int64_t end) const;
  /// Where document `d` begins; begin(documents()) is tokens().
  int64_t begin(int64_t d) const;

 private:
  io::SafeTensors file_;
  // views into the mapping
  const void* tokens_ = nullptr;
  const uint64_t* starts_ = nullptr;
  const uint8_t* scored_ = nullptr;
  int64_t count_ = 0, documents_ = 0, vocab_size_ = 0;
  uint64_t text_bytes_ = 0;
  bool wide_ = false;
};

/// Writes such a file in constant memory (but 8 bytes per document, and one per token where some
/// are not scored); it appears at commit().
class TokenWriter {
 public:
  /// Errors   73 if it cannot be created; here and below 74 if a write fails
  TokenWriter(const std::filesystem::path& file, int64_t vocab_size, std::string tokenizer,
              std::string split);

  /// What is appended from here on belongs to a new document.
  void begin_document();
  /// Errors   70 if an id is not below vocab_size, or no document was begun
  void append(const std::vector<int32_t>& ids);
  /// The same, with what `scored` says of each. Of a file either all tokens or none.
  void append(const std::vector<int32_t>& ids, const std::vector<uint8_t>& scored);
  void add_text_bytes(uint64_t bytes) { text_bytes_ += bytes; }
  int64_t tokens() const { return static_cast<int64_t>(count_); }
  int64_t documents() const { return static_cast<int64_t>(starts_.size()); }
  uint64_t text_bytes() const { return text_bytes_; }
  /// After the last token: all is on the disk, under another name (io::AtomicFile::seal).
  void seal();
  void commit() { stream_.commit(); }

 private:
  io::SafeTensorsStream stream_;
  int64_t vocab_size_;
  std::string tokenizer_, split_;
  std::vector<uint64_t> starts_;
  std::vector<uint8_t> scored_;
  uint64_t count_ = 0, text_bytes_ = 0;
};

}  // namespace lact::text
