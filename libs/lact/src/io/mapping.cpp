#include "mapping.hpp"

#include <lact/error.hpp>
#include <lact/io/mapped.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

namespace lact::io {
namespace {

/// What is mapped, as far as there is room: what is left out has no name in mapped_file().
std::array<std::atomic<const Region*>, 256> regions{};

void exchange(const Region* from, const Region* to) {
  for (auto& slot : regions) {
    const Region* expected = from;
    if (slot.compare_exchange_strong(expected, to)) return;
  }
}

}  // namespace

const char* mapped_file(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  for (const auto& slot : regions) {
    const Region* one = slot;
    if (one != nullptr && at >= one->begin && at < one->begin + one->size) return one->path;
  }
  return nullptr;
}

Mapping::Mapping(std::filesystem::path file)
    : path_(std::move(file)),
      // Without O_NONBLOCK opening a pipe that nobody writes would wait for ever.
      file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!file_) throw Error(Exit::no_input, path_.string(), ": cannot open: ", reason(errno));
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0)
    throw Error(Exit::no_input, path_.string(), ": cannot read: ", reason(errno));
  if (!S_ISREG(info.st_mode)) throw Error(Exit::no_input, path_.string(), ": is no regular file");
  size_ = static_cast<uint64_t>(info.st_size);
}

Mapping::~Mapping() {
  if (base_ == nullptr) return;
  exchange(&region_, nullptr);
  ::munmap(base_, size_);
}

void Mapping::read(void* into, size_t bytes, uint64_t offset) const {
  auto* to = static_cast<char*>(into);
  while (bytes > 0) {
    const ssize_t n = ::pread(file_.get(), to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(Exit::no_input, path_.string(), ": cannot read: ", reason(errno));
    if (n == 0) throw Error(Exit::data, path_.string(), ": shrank while it was read");
    to += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

void Mapping::map() {
  base_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_.get(), 0);
  if (base_ == MAP_FAILED) {
    base_ = nullptr;
    throw Error(errno == ENOMEM ? Exit::resources : Exit::no_input, path_.string(),
                ": cannot map: ", reason(errno));
  }
  region_ = {static_cast<const std::byte*>(base_), size_, path_.c_str()};
  exchange(nullptr, &region_);
}

const std::byte* Mapping::data() const {
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0 || static_cast<uint64_t>(info.st_size) < size_)
    throw Error(Exit::data, path_.string(), ": shrank after it was opened: expected ", size_,
                " bytes, found ", info.st_size);
  return static_cast<const std::byte*>(base_);
}

}  // namespace lact::io
