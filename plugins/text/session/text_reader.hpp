#pragma once
// Text of any length as token ids, block by block: memory does not grow with the text.

#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/input/bytes.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lact::text {

class TextReader {
 public:
  /// `continued`: the text goes on from text before it.
  static TextReader from_text(const spm::Tokenizer& tokenizer, std::string text, bool continued);
  /// "-": stdin. Compressed data is decompressed. Errors: 66 if it cannot be opened
  static TextReader from_file(const spm::Tokenizer& tokenizer, const std::filesystem::path& file,
                              bool continued);

  /// Sees the bytes of the text in order, before their ids are returned.
  void set_tee(std::function<void(std::string_view)> tee) { tee_ = std::move(tee); }

  /// Up to `count` further ids, fewer only at the end of the text or if a signal asks to stop.
  /// Errors   65 if the file is a picture, an archive or another form that is no text, or damaged;
  ///          74 if reading fails
  std::vector<int32_t> next(size_t count);

  /// Bytes whose ids were returned or wait to be (all but what one block holds).
  uint64_t bytes() const { return bytes_; }
  /// For a progress line: bytes taken so far, before decompression.
  uint64_t bytes_read() const { return source_ ? source_->consumed() : bytes_; }
  /// Of a regular file or a text, before decompression; 0 if not known.
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  TextReader(const spm::Tokenizer& tokenizer, bool continued);
  bool more();
  bool fill();

  const spm::Tokenizer* tokenizer_;
  std::string name_;
  std::unique_ptr<ByteSource> source_;  // none: a text
  bool first_, complete_ = false, ended_ = false;
  std::string rest_;  // read, not yet encoded, from at_ on
  size_t at_ = 0;
  std::vector<int32_t> ids_;  // encoded, not yet returned
  uint64_t bytes_ = 0, total_bytes_ = 0;
  std::function<void(std::string_view)> tee_;
};

}  // namespace lact::text
