#pragma once
// Documents out of files, folders, JSON lines and streams, compressed or not, in constant memory.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lact::cli {
class Options;
}

namespace lact::text {

/// Bytes one after another, decompressed by the file's name (.gz, .zst).
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// At most `bytes` of what follows; 0 at the end.
  /// Errors   65 if compressed data is damaged or ends early, 74 if reading fails
  virtual size_t read(char* to, size_t bytes) = 0;
  /// Bytes taken from the file so far, before decompression.
  virtual uint64_t consumed() const = 0;
};

/// `file`, or stdin if it is "-". Errors: 66 if it cannot be opened.
std::unique_ptr<ByteSource> open_bytes(const std::string& file);

/// Where documents come from, and what a document is.
struct DocumentOptions {
  std::vector<std::string> inputs;  ///< files, folders (with all below them), "-"; none: stdin
  std::string format = "auto";      ///< "text", "jsonl"; auto: by the file's name
  std::string text_key = "text";
  std::string separator;  ///< with C escapes; empty: a file is a document

  /// Positionals FILE..., --input-format, --text-key, --document-separator.
  void declare(cli::Options options);
};

/// "\n" and "\x00" to the bytes they mean. Errors: 64 for other escapes.
std::string unescape(const std::string& text);

/// All documents of the inputs in order: files as given, folders by path.
///
/// A text file is a document; with a separator, each of its occurrences ends one (and nothing after
/// the last one is no document). A line of JSON is a document, empty lines are passed over.
/// Hidden files inside folders are left out.
class Documents {
 public:
  /// Finds the files. Errors: 66 naming an input that is missing or unreadable, 64 if stdin is a
  /// terminal and there is no input
  explicit Documents(DocumentOptions options);
  ~Documents();

  /// Some bytes of a document.
  struct Part {
    std::string bytes;
    bool first = false, last = false;
  };
  /// The next part; false when there are no more. Parts have at most some 256 KiB, records of JSON
  /// lines are one part.
  /// Errors   65 naming file and line of malformed JSON, or damaged compressed data; 66, 74
  bool next(Part& part);

  const std::vector<std::string>& files() const { return files_; }
  /// The file of the last part.
  const std::string& file() const;
  /// For a progress line: bytes read of all files, before decompression; total 0 if unknown.
  uint64_t bytes_read() const;
  uint64_t total_bytes() const { return total_; }

 private:
  bool open_next();
  bool next_text(Part& part);
  bool next_separated(Part& part);
  bool next_record(Part& part);
  bool fill();

  DocumentOptions options_;
  std::vector<std::string> files_;
  uint64_t total_ = 0, before_ = 0;
  size_t index_ = 0;  ///< of the next file
  std::unique_ptr<ByteSource> source_;
  bool records_ = false, first_ = true, ended_ = false;
  uint64_t line_ = 0;
  std::string buffer_;
  size_t at_ = 0, searched_ = 0;  ///< in buffer_: begin of what is unread, end of what was searched
};

}  // namespace lact::text
