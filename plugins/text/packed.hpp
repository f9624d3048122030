#pragma once
// Packed token data: what lact-tokenize text encode writes and lact-train reads.
//
// A safetensors file, memory-mapped:
//   tokens     U16 [T], or U32 where the vocabulary needs it: documents one after another
//   documents  U64 [D + 1]: where each begins; the last is T
// Metadata: lact.kind = "tokens", lact.version, vocab_size, tokenizer (XXH3 of tokenizer.model),
// bytes (of text), split.

#include <lact/io/safetensors.hpp>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace lact::text {

class PackedTokens {
 public:
  /// Errors   65 if it is no token data or contradicts itself, 66 if it cannot be read
  static PackedTokens open(const std::filesystem::path& file);

  int64_t tokens() const;
  int64_t documents() const;
  int64_t vocab_size() const;
  /// XXH3 of the tokenizer.model that made it.
  const std::string& tokenizer() const;
  /// Ids [begin, end) as int64. Errors: 65 naming the place if one is not below vocab_size.
  at::Tensor ids(int64_t begin, int64_t end) const;
  /// The number of the document each of the tokens [begin, end) belongs to, int64.
  at::Tensor document_numbers(int64_t begin, int64_t end) const;
  /// Where document `d` begins; begin(documents()) is tokens().
  int64_t begin(int64_t d) const;

 private:
  io::SafeTensors file_;
  // views into the mapping
  const void* tokens_ = nullptr;
  const uint64_t* starts_ = nullptr;
  int64_t count_ = 0, documents_ = 0, vocab_size_ = 0;
  bool wide_ = false;
};

}  // namespace lact::text
