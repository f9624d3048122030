#pragma once
// Documents out of files, folders, JSON lines and streams, compressed or not, in constant memory.

#include "bytes.hpp"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lact::cli {
class Options;
}

namespace lact::text {

/// Where documents come from, and what a document is.
struct DocumentOptions {
  std::string output;               ///< of the command itself: what it wrote earlier is no input
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
/// Of folders, hidden files are left out, and what is below options.output; and with a line for
/// each, files whose first bytes are those of a picture, an archive or another form that is no text
/// (--input-format text takes them as they are).
class Documents {
 public:
  /// Finds the files. Errors: 66 naming an input that is missing or unreadable, 64 if stdin is a
  /// terminal and there is no input, or an input is options.output
  explicit Documents(DocumentOptions options);
  ~Documents();

  /// Some bytes of a document.
  struct Part {
    std::string bytes;
    bool first = false, last = false;
  };
  /// The next part; false when there are no more. Parts have at most some 256 KiB, records of JSON
  /// lines are one part.
  /// Errors   65 naming file and line of malformed JSON, damaged compressed data, or a file that is
  ///          named and no text; 66, 74
  bool next(Part& part);

  const std::vector<std::string>& files() const { return files_; }
  /// The file of the last part.
  const std::string& file() const;
  /// For a progress line: bytes read of all files, before decompression; total 0 if unknown.
  uint64_t bytes_read() const;
  uint64_t total_bytes() const { return total_; }

 private:
  void add_folder(const std::string& folder);
  bool open_next();
  bool is_text();
  bool holds_records();
  bool next_text(Part& part);
  bool next_separated(Part& part);
  bool next_record(Part& part);
  bool fill();

  DocumentOptions options_;
  std::vector<std::string> files_;
  std::set<std::string> found_;  ///< those of files_ that nobody named
  size_t left_out_ = 0;
  uint64_t total_ = 0, before_ = 0;
  size_t index_ = 0;  ///< of the next file
  std::unique_ptr<ByteSource> source_;
  bool records_ = false, first_ = true, ended_ = false;
  uint64_t line_ = 0;
  std::string buffer_;
  size_t at_ = 0, searched_ = 0;  ///< in buffer_: begin of what is unread, end of what was searched
};

}  // namespace lact::text
