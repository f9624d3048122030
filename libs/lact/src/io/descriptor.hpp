#pragma once
// What the files of this room share: an owned descriptor and words for errno.

#include <lact/io/files.hpp>

#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace lact::io {

/// A file descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  int release() { return std::exchange(number_, -1); }
  /// False, with errno, if the kernel reports a late write error. EINTR is none: Linux has closed.
  bool close() { return number_ < 0 || ::close(std::exchange(number_, -1)) == 0 || errno == EINTR; }
  /// False, with errno, if what was written is not on the disk.
  bool sync() const {
    int result = 0;
    do result = ::fsync(number_);
    while (result != 0 && errno == EINTR);
    return result == 0;
  }

 private:
  int number_ = -1;
};

/// The operating system's words for an errno.
inline std::string reason(int error) {
  return std::generic_category().message(error);
}

/// True if the text is UTF-8: no surrogates, nothing overlong, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text);

/// True if the text names a file of a folder, nothing outside it, and is one line.
bool is_plain_name(std::string_view name);

}  // namespace lact::io
