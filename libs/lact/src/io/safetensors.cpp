#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/known_form.hpp>
#include <lact/io/safetensors.hpp>

#include "dtype.hpp"
#include "mapping.hpp"
#include "safetensors_header.hpp"

#include <bit>
#include <unordered_map>

namespace lact::io {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

struct SafeTensors::Mapping {
  io::Mapping file;
  uint64_t buffer = 0;  // where the tensors begin
  Header header;
  bool checksums = false;
  std::unordered_map<std::string_view, size_t> index;

  explicit Mapping(const std::filesystem::path& path) : file(path) {}
  std::string name() const { return file.path().string(); }
  std::string read_header();
  const Entry& find(const std::string& name) const;
  const std::byte* begin(const Entry& entry) const { return file.data() + buffer + entry.begin; }
};

std::string SafeTensors::Mapping::read_header() {
  uint64_t length = 0;
  const uint64_t size = file.size();
  if (size < sizeof length)
    throw Error(Exit::data, name(), ": no safetensors file: expected at least 8 bytes, ", "found ",
                size);
  file.read(&length, sizeof length, 0);
  std::string head(std::min<uint64_t>(size, kFormBytes), '\0');
  file.read(head.data(), head.size(), 0);
  if (known_form(head) != "safetensors data") refuse_other_form(name(), head, "safetensors file");
  if (length > kMaxHeaderBytes)
    throw Error(Exit::data, name(), ": no safetensors file: expected a header of at most ",
                kMaxHeaderBytes, " bytes, found ", length);
  if (length > size - sizeof length)
    throw Error(Exit::data, name(), ": no safetensors file, or truncated: expected a header of ",
                length, " bytes, found ", size - sizeof length);
  std::string text(length, '\0');
  file.read(text.data(), length, sizeof length);
  buffer = sizeof length + length;
  return text;
}

const SafeTensors::Entry& SafeTensors::Mapping::find(const std::string& name) const {
  const auto found = index.find(name);
  if (found == index.end())
    throw Error(Exit::data, this->name(), ": tensor ", printable(name), " is missing");
  return header.entries[found->second];
}

SafeTensors SafeTensors::open(const std::filesystem::path& file) {
  auto mapping = std::make_shared<Mapping>(file);
  const auto text = mapping->read_header();
  mapping->header = parse_header(file.string(), text, mapping->file.size() - mapping->buffer);
  mapping->checksums = take_checksums(file.string(), mapping->header);
  const auto& entries = mapping->header.entries;
  mapping->index.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) mapping->index.emplace(entries[i].name, i);
  mapping->file.map();
  SafeTensors opened;
  opened.mapping_ = std::move(mapping);
  return opened;
}

const std::filesystem::path& SafeTensors::path() const {
  return mapping_->file.path();
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
  return tensor_on(mapping_->name(), entry, mapping_->begin(entry), mapping_,
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
    throw Error(Exit::data, mapping_->name(), ": tensor ", printable(name),
                ": damaged: expected XXH3 ", printable(entry.xxh3), ", found ", found);
}

}  // namespace lact::io
