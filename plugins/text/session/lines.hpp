#pragma once
// The lines of a file or of stdin, compressed or not, one after another, each of bounded length.

#include <plugins/text/input/bytes.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace lact::text {

class Lines {
 public:
  /// `file`, or stdin if it is "-". Errors: 66 if it cannot be opened
  explicit Lines(const std::string& file);

  /// The next line that is not blank, without its end (nor, in the first, a byte order mark); false
  /// at the end of the file.
  /// Errors   65 for a line of more than 32 MiB, 74; cli::Interrupted, even while nothing comes
  bool next(std::string& line);
  /// "FILE:LINE" of the last one.
  std::string where() const;
  const std::string& name() const { return name_; }

 private:
  bool fill();

  std::string name_, buffer_;
  std::unique_ptr<ByteSource> source_;
  size_t at_ = 0, searched_ = 0;  // in buffer_: where the rest begins, how far it holds no line end
  int64_t number_ = 0;
};

}  // namespace lact::text
