#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/mapped.hpp>
#include <lact/io/safetensors.hpp>

#include "descriptor.hpp"
#include "dtype.hpp"
#include "safetensors_header.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <unordered_map>

namespace lact::io {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

namespace {

struct Region {
  const std::byte* begin = nullptr;
  uint64_t size = 0;
  const char* path = nullptr;
};

/// What is mapped, as far as there is room: what is left out has no name in mapped_file().
std::array<std::atomic<const Region*>, 256> regions{};

void exchange(const Region* from, const Region* to) {
  for (auto& slot : regions) {
    const Region* expected = from;
    if (slot.compare_exchange_strong(expected, to)) return;
  }
}

}  // namespace

struct SafeTensors::Mapping {
  std::filesystem::path path;
  Descriptor file;
  void* base = nullptr;
  uint64_t size = 0;    // of the file
  uint64_t buffer = 0;  // where the tensors begin
  Header header;
  bool checksums = false;
  Region region;
  std::unordered_map<std::string_view, size_t> index;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (base == nullptr) return;
    exchange(&region, nullptr);
    ::munmap(base, size);
  }

  void open();
  std::string read_header();
  void map();
  const Entry& find(const std::string& name) const;
  const std::byte* begin(const Entry& entry) const;
};

const char* mapped_file(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  for (const auto& slot : regions) {
    const Region* one = slot;
    if (one != nullptr && at >= one->begin && at < one->begin + one->size) return one->path;
  }
  return nullptr;
}

void SafeTensors::Mapping::open() {
  // Without O_NONBLOCK opening a pipe that nobody writes would wait for ever.
  file = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) throw Error(Exit::no_input, path.string(), ": cannot open: ", reason(errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0)
    throw Error(Exit::no_input, path.string(), ": cannot read: ", reason(errno));
  if (!S_ISREG(info.st_mode)) throw Error(Exit::no_input, path.string(), ": is no regular file");
  size = static_cast<uint64_t>(info.st_size);
}

std::string SafeTensors::Mapping::read_header() {
  const auto read = [&](void* into, size_t bytes, uint64_t offset) {
    auto* to = static_cast<char*>(into);
    while (bytes > 0) {
      const ssize_t n = ::pread(file.get(), to, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw Error(Exit::no_input, path.string(), ": cannot read: ", reason(errno));
      if (n == 0) throw Error(Exit::data, path.string(), ": shrank while it was read");
      to += n;
      offset += static_cast<uint64_t>(n);
      bytes -= static_cast<size_t>(n);
    }
  };
  uint64_t length = 0;
  if (size < sizeof length)
    throw Error(Exit::data, path.string(), ": no safetensors file: expected at least 8 bytes, ",
                "found ", size);
  read(&length, sizeof length, 0);
  if (length > kMaxHeaderBytes)
    throw Error(Exit::data, path.string(), ": no safetensors file: expected a header of at most ",
                kMaxHeaderBytes, " bytes, found ", length);
  if (length > size - sizeof length)
    throw Error(Exit::data, path.string(),
                ": no safetensors file, or truncated: expected a header of ", length,
                " bytes, found ", size - sizeof length);
  std::string text(length, '\0');
  read(text.data(), length, sizeof length);
  buffer = sizeof length + length;
  return text;
}

void SafeTensors::Mapping::map() {
  base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (base == MAP_FAILED) {
    base = nullptr;
    throw Error(errno == ENOMEM ? Exit::resources : Exit::no_input, path.string(),
                ": cannot map: ", reason(errno));
  }
  region = {static_cast<const std::byte*>(base), size, path.c_str()};
  exchange(nullptr, &region);
}

const SafeTensors::Entry& SafeTensors::Mapping::find(const std::string& name) const {
  const auto found = index.find(name);
  if (found == index.end())
    throw Error(Exit::data, path.string(), ": has no tensor ", printable(name));
  return header.entries[found->second];
}

const std::byte* SafeTensors::Mapping::begin(const Entry& entry) const {
  // Reading pages beyond a file's end raises SIGBUS. Who cuts the file later than this check ends
  // the program (cli::run says why).
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || static_cast<uint64_t>(info.st_size) < size)
    throw Error(Exit::data, path.string(), ": shrank after it was opened: expected ", size,
                " bytes, found ", info.st_size);
  return static_cast<const std::byte*>(base) + buffer + entry.begin;
}

SafeTensors SafeTensors::open(const std::filesystem::path& file) {
  auto mapping = std::make_shared<Mapping>();
  mapping->path = file;
  mapping->open();
  const auto text = mapping->read_header();
  mapping->header = parse_header(file.string(), text, mapping->size - mapping->buffer);
  mapping->checksums = take_checksums(file.string(), mapping->header);
  const auto& entries = mapping->header.entries;
  mapping->index.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) mapping->index.emplace(entries[i].name, i);
  mapping->map();
  SafeTensors opened;
  opened.mapping_ = std::move(mapping);
  return opened;
}

const std::filesystem::path& SafeTensors::path() const {
  return mapping_->path;
}
const Metadata& SafeTensors::metadata() const {
  return mapping_->header.metadata;
}
const std::vector<SafeTensors::Entry>& SafeTensors::entries() const {
  return mapping_->header.entries;
}
bool SafeTensors::has_checksums() const {
  return mapping_->checksums;
}
bool SafeTensors::contains(const std::string& name) const {
  return mapping_->index.count(name) > 0;
}
const SafeTensors::Entry& SafeTensors::entry(const std::string& name) const {
  return mapping_->find(name);
}

at::Tensor SafeTensors::tensor(const std::string& name) const {
  verify(name);
  const Entry& entry = mapping_->find(name);
  return tensor_on(mapping_->path.string(), entry, mapping_->begin(entry), mapping_,
                   /*copy=*/false);
}

const std::byte* SafeTensors::bytes(const std::string& name) const {
  return mapping_->begin(mapping_->find(name));
}

void SafeTensors::verify(const std::string& name) const {
  const Entry& entry = mapping_->find(name);
  const auto* data = mapping_->begin(entry);
  if (!mapping_->checksums) return;
  const auto found = xxh3(data, entry.end - entry.begin);
  if (found != entry.xxh3)
    throw Error(Exit::data, mapping_->path.string(), ": tensor ", printable(name),
                ": damaged: expected XXH3 ", printable(entry.xxh3), ", found ", found);
}

}  // namespace lact::io
