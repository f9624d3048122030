#include <lact/error.hpp>
#include <lact/io/closed_pipe.hpp>
#include <lact/io/files.hpp>

#include "descriptor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

namespace lact::io {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;
constexpr int kNameTries = 1000;

bool is_stdout(const std::filesystem::path& file) {
  return file == "-";
}

std::string shown(const std::filesystem::path& file, const char* stream) {
  return file == "-" ? std::string(stream) : file.string();
}

std::atomic<bool> closed_pipe_throws{false};

/// Ends the program as a program ends that never heard of SIGPIPE, unless somebody catches it.
void end_by_closed_pipe() {
  if (closed_pipe_throws) throw ClosedPipe();
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(SIGPIPE);
}

/// Waits until a descriptor that somebody made non-blocking takes bytes again.
void wait_writable(int descriptor) {
  pollfd wanted{descriptor, POLLOUT, 0};
  ::poll(&wanted, 1, -1);
}

void pwrite_all(int descriptor, uint64_t offset, const void* data, size_t bytes,
                const std::string& what) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(descriptor, from, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error(Exit::io, what, ": cannot write: ", reason(n < 0 ? errno : EIO));
    from += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

/// A link's end, so that writing to a link replaces the file and not the link.
std::filesystem::path behind_links(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_symlink(file, error)) return file;
  auto end = std::filesystem::canonical(file, error);
  return error ? file : end;
}

std::filesystem::path parent_of(const std::filesystem::path& file) {
  const auto parent = file.parent_path();
  return parent.empty() ? "." : parent;
}

}  // namespace

const char* ClosedPipe::what() const noexcept {
  return "stdout: nobody reads it any more";
}

ClosedPipeThrows::ClosedPipeThrows() : before_(std::signal(SIGPIPE, SIG_IGN)) {
  closed_pipe_throws = true;
}

ClosedPipeThrows::~ClosedPipeThrows() {
  closed_pipe_throws = false;
  std::signal(SIGPIPE, before_);
}

struct AtomicFile::Impl {
  std::filesystem::path target;  // what the user named
  std::filesystem::path final;   // what is replaced: target with links followed
  std::filesystem::path work;    // temporary name; empty: written to directly
  std::string name;              // for messages
  Descriptor file;
  int descriptor = -1;
  std::vector<char> buffer;
  uint64_t written = 0;

  void open();
  void create_beside(const struct stat* old);
  void flush() {
    if (buffer.empty()) return;
    write_all(descriptor, buffer.data(), buffer.size(), name);
    buffer.clear();
  }
};

void AtomicFile::Impl::open() {
  name = shown(target, "stdout");
  if (is_stdout(target)) {
    descriptor = STDOUT_FILENO;
    return;
  }
  final = behind_links(target);
  struct stat old {};
  const bool exists = ::stat(final.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) throw Error(Exit::cannot_create, name, ": is a directory");
  if (exists && !S_ISREG(old.st_mode)) {  // a device or pipe cannot be replaced, only written to
    file = Descriptor(::open(final.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) throw Error(Exit::cannot_create, name, ": cannot open: ", reason(errno));
  } else {
    create_beside(exists ? &old : nullptr);
  }
  descriptor = file.get();
}

void AtomicFile::Impl::create_beside(const struct stat* old) {
  static std::atomic<unsigned> count{0};
  // Cut, so that a name of the full 255 bytes still leaves room for what is added.
  const auto stem = final.filename().string().substr(0, 200);
  for (int i = 0; i < kNameTries && !file; ++i) {
    work = parent_of(final) / concat(stem, ".tmp.", ::getpid(), ".", count++);
    file = Descriptor(::open(work.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!file && errno != EEXIST) break;
  }
  if (!file) {
    work.clear();
    throw Error(Exit::cannot_create, name, ": cannot create: ", reason(errno));
  }
  // A file that was private stays so.
  if (old != nullptr) (void)::fchmod(file.get(), old->st_mode & 07777);
}

AtomicFile::AtomicFile(std::filesystem::path target) : impl_(std::make_unique<Impl>()) {
  impl_->target = std::move(target);
  impl_->open();
  impl_->buffer.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (impl_ && !impl_->work.empty()) ::unlink(impl_->work.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  auto& buffer = impl_->buffer;
  if (buffer.size() + bytes > kBufferBytes) impl_->flush();
  if (bytes >= kBufferBytes) {
    write_all(impl_->descriptor, data, bytes, impl_->name);
  } else if (bytes > 0) {
    const auto* from = static_cast<const char*>(data);
    buffer.insert(buffer.end(), from, from + bytes);
  }
  impl_->written += bytes;
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  if (offset > impl_->written || bytes > impl_->written - offset)
    throw Error(Exit::internal, impl_->name, ": write_at beyond what was written");
  impl_->flush();
  if (impl_->work.empty())
    throw Error(Exit::cannot_create, impl_->name,
                ": is no regular file, and this content needs one: its head is written last");
  pwrite_all(impl_->descriptor, offset, data, bytes, impl_->name);
}

uint64_t AtomicFile::size() const {
  return impl_->written;
}

void AtomicFile::seal() {
  impl_->flush();
  if (!impl_->work.empty() && !impl_->file.sync())
    throw Error(Exit::io, impl_->name, ": cannot sync: ", reason(errno));
  impl_->descriptor = -1;
  if (!impl_->file.close()) throw Error(Exit::io, impl_->name, ": cannot write: ", reason(errno));
}

void AtomicFile::commit() {
  if (impl_->descriptor >= 0) seal();
  if (impl_->work.empty()) return;
  if (::rename(impl_->work.c_str(), impl_->final.c_str()) != 0)
    throw Error(Exit::io, impl_->name, ": cannot rename: ", reason(errno));
  impl_->work.clear();
  sync_folder(parent_of(impl_->final));
}

void write_text(const std::filesystem::path& target, std::string_view text) {
  AtomicFile file(target);
  file.write(text);
  file.commit();
}

std::string read_text(const std::filesystem::path& file, uint64_t limit) {
  const auto name = shown(file, "stdin");
  Descriptor owned;
  int descriptor = STDIN_FILENO;
  if (file != "-") {
    owned = Descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!owned) throw Error(Exit::no_input, name, ": cannot open: ", reason(errno));
    descriptor = owned.get();
  }
  std::string text;
  struct stat info {};
  if (::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
    text.reserve(std::min<uint64_t>(limit, static_cast<uint64_t>(info.st_size)));
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(descriptor, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(Exit::no_input, name, ": cannot read: ", reason(errno));
    if (n == 0) return text;
    if (static_cast<uint64_t>(n) > limit - text.size())
      throw Error(Exit::data, name, ": longer than ", limit, " bytes");
    text.append(buffer, static_cast<size_t>(n));
  }
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor open(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!open) throw Error(Exit::io, folder.string(), ": cannot open: ", reason(errno));
  // Some file systems know no such thing as syncing a folder.
  if (!open.sync() && errno != EINVAL && errno != ENOTSUP)
    throw Error(Exit::io, folder.string(), ": cannot sync: ", reason(errno));
}

void write_all(int descriptor, const void* data, size_t bytes, const std::string& what) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(descriptor, from, bytes);
    if (n >= 0) {
      from += n;
      bytes -= static_cast<size_t>(n);
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN || error == EWOULDBLOCK) {
      wait_writable(descriptor);
      continue;
    }
    if (error == EPIPE && descriptor == STDOUT_FILENO) end_by_closed_pipe();
    throw Error(Exit::io, what, ": cannot write: ", reason(error));
  }
}

namespace {

std::string hex(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes.digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

std::string xxh3(const void* data, size_t bytes) {
  return hex(XXH3_128bits(data, bytes));
}

Xxh3::Xxh3() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}
Xxh3::~Xxh3() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}
void Xxh3::update(const void* data, size_t bytes) {
  if (bytes > 0) XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), data, bytes);
}
std::string Xxh3::digest() const {
  return hex(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_)));
}

bool is_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const unsigned lead = byte(i);
    const size_t length = lead < 0x80    ? 1
                          : lead < 0xC2  ? 0
                          : lead < 0xE0  ? 2
                          : lead < 0xF0  ? 3
                          : lead <= 0xF4 ? 4
                                         : 0;
    if (length == 0 || length > text.size() - i) return false;
    for (size_t j = 1; j < length; ++j)
      if ((byte(i + j) & 0xC0) != 0x80) return false;
    if ((lead == 0xE0 && byte(i + 1) < 0xA0) || (lead == 0xED && byte(i + 1) > 0x9F) ||
        (lead == 0xF0 && byte(i + 1) < 0x90) || (lead == 0xF4 && byte(i + 1) > 0x8F))
      return false;  // overlong, a surrogate, or beyond U+10FFFF
    i += length;
  }
  return true;
}

bool is_plain_name(std::string_view name) {
  const auto in_a_line = [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F && c != '/';
  };
  return !name.empty() && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), in_a_line);
}

std::string printable(std::string_view text) {
  constexpr size_t kLimit = 120;
  static constexpr char kDigits[] = "0123456789abcdef";
  const bool utf8 = is_utf8(text);
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool inside = utf8 && (byte & 0xC0) == 0x80;  // of a character: whole ones are shown
    if (shown.size() >= kLimit && !inside) return shown + "...";
    if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !utf8))
      shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    else
      shown += c;
  }
  return shown;
}

}  // namespace lact::io
