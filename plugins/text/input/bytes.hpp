#pragma once
// The bytes of a file or of stdin, compressed or not.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace lact::text {

/// Bytes one after another, decompressed if they are gzip or zstd data, whatever the file's name.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// At most `bytes` of what follows; 0 at the end.
  /// Errors   65 if compressed data is damaged or ends early, 74 if reading fails;
  ///          cli::Interrupted, even while nothing comes
  virtual size_t read(char* to, size_t bytes) = 0;
  /// Bytes taken from the file so far, before decompression.
  virtual uint64_t consumed() const = 0;
};

/// `file`, or stdin if it is "-". Errors: 66 if it cannot be opened or is a folder.
std::unique_ptr<ByteSource> open_bytes(const std::string& file);

/// Errors   65 if the bytes that `file` begins with are those of a form that is no text
void check_form(const std::string& file, std::string_view head);

/// "stdin" for "-".
std::string shown(const std::string& file);

/// The name without .gz or .zst.
std::string without_compression(const std::string& file);

}  // namespace lact::text
