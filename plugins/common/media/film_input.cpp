#include "film_input.hpp"

#include <lact/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

namespace lact::media {
namespace {

constexpr size_t kHeadBytes = 8;

std::string reason() {
  return std::generic_category().message(errno);
}

/// The first box of MP4, MOV and their like.
bool has_index_somewhere(std::string_view head) {
  if (head.size() < kHeadBytes) return false;
  for (const char* box : {"ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"})
    if (head.substr(4, 4) == box) return true;
  return false;
}

int read_some(void* opaque, uint8_t* to, int bytes) {
  return static_cast<FilmInput*>(opaque)->read(to, bytes);
}

int64_t seek_to(void* opaque, int64_t to, int whence) {
  return static_cast<FilmInput*>(opaque)->seek(to, whence);
}

}  // namespace

FilmInput::FilmInput(const std::filesystem::path& file, bool (*stop)())
    : name_(file.string()), stop_(stop) {
  std::error_code ignored;
  if (name_ == "-") {
    name_ = "stdin";
    pipe_.fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    if (pipe_.fd < 0) throw Error(Exit::no_input, name_, ": cannot open: ", reason());
    open_descriptor();
  } else if (std::filesystem::is_directory(file, ignored)) {
    throw Error(Exit::no_input, name_, ": is a directory");
  } else {
    // Without waiting for whoever writes into a pipe: that is done where a stop is heard.
    pipe_.fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (pipe_.fd < 0) throw Error(Exit::no_input, name_, ": cannot open: ", reason());
    open_descriptor();
  }
  auto* buffer = static_cast<uint8_t*>(allocated(av_malloc(kIoBytes)));
  io_.reset(
      avio_alloc_context(buffer, kIoBytes, 0, this, read_some, nullptr, file_ ? seek_to : nullptr));
  if (io_) return;
  av_free(buffer);
  throw std::bad_alloc();
}

FilmInput::Pipe::~Pipe() {
  if (fd >= 0) ::close(fd);
}

/// Bytes of the pipe, waiting for some; 0 at the end, and where it is asked to stop; -1 for an
/// error.
ssize_t FilmInput::read_pipe(void* to, size_t bytes) const {
  while (stop_ == nullptr || !stop_()) {
    pollfd wanted{pipe_.fd, POLLIN, 0};
    if (::poll(&wanted, 1, 200) == 0) continue;
    const ssize_t n = ::read(pipe_.fd, to, bytes);
    if (n >= 0 || (errno != EINTR && errno != EAGAIN)) return n;
  }
  return 0;
}

void FilmInput::open_descriptor() {
  struct stat status {};
  if (::fstat(pipe_.fd, &status) == 0 && S_ISREG(status.st_mode)) {
    file_.reset(::fdopen(pipe_.fd, "rb"));
    if (!file_) throw Error(Exit::no_input, name_, ": cannot open: ", reason());
    pipe_.fd = -1;  // the file's
    return;
  }
  while (head_.size() < kHeadBytes) {
    std::array<char, kHeadBytes> some;
    const ssize_t n = read_pipe(some.data(), kHeadBytes - head_.size());
    if (n < 0) throw Error(Exit::no_input, name_, ": cannot read: ", reason());
    if (n == 0) break;
    head_.append(some.data(), static_cast<size_t>(n));
  }
  if (has_index_somewhere(head_)) keep();
}

void FilmInput::keep() {
  file_.reset(std::tmpfile());
  if (!file_) throw Error(Exit::io, name_, ": cannot make a temporary file: ", reason());
  std::array<char, kIoBytes> some;
  const auto put = [&](const char* data, size_t bytes) {
    if (std::fwrite(data, 1, bytes, file_.get()) != bytes)
      throw Error(Exit::io, name_, ": cannot write a temporary file: ", reason());
  };
  put(head_.data(), head_.size());
  for (ssize_t n; (n = read_pipe(some.data(), some.size())) != 0;) {
    if (n < 0) throw Error(Exit::no_input, name_, ": cannot read: ", reason());
    put(some.data(), static_cast<size_t>(n));
  }
  if (std::fflush(file_.get()) != 0)
    throw Error(Exit::io, name_, ": cannot write a temporary file: ", reason());
  std::rewind(file_.get());
}

int FilmInput::read(uint8_t* to, int bytes) {
  const auto wanted = static_cast<size_t>(bytes);
  if (file_) {
    const size_t n = std::fread(to, 1, wanted, file_.get());
    if (n > 0) return static_cast<int>(n);
    return std::ferror(file_.get()) != 0 ? AVERROR(EIO) : AVERROR_EOF;
  }
  if (!head_.empty()) {
    const size_t n = std::min(wanted, head_.size());
    std::memcpy(to, head_.data(), n);
    head_.erase(0, n);
    return static_cast<int>(n);
  }
  const ssize_t n = read_pipe(to, wanted);
  if (n > 0) return static_cast<int>(n);
  return n == 0 ? AVERROR_EOF : AVERROR(EIO);
}

int64_t FilmInput::seek(int64_t to, int whence) {
  auto* file = file_.get();
  if (whence == AVSEEK_SIZE) {
    const auto here = ::ftello(file);
    if (here < 0 || ::fseeko(file, 0, SEEK_END) != 0) return AVERROR(EIO);
    const auto size = ::ftello(file);
    return ::fseeko(file, here, SEEK_SET) == 0 ? size : AVERROR(EIO);
  }
  return ::fseeko(file, to, whence & ~AVSEEK_FORCE) == 0 ? ::ftello(file) : AVERROR(EIO);
}

}  // namespace lact::media
