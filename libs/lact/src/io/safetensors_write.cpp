#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>

#include "descriptor.hpp"
#include "dtype.hpp"
#include "safetensors_header.hpp"
#include "written.hpp"

#include <algorithm>
#include <optional>

namespace lact::io {
namespace {

struct Item {
  const Dtype* dtype;
  const std::string* name;
  const at::Tensor* tensor;
};

std::vector<Item> in_order(const std::string& file, const NamedTensors& tensors) {
  std::vector<Item> items;
  items.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto fail = [&, &name = name](const auto&... parts) {
      return Error(Exit::internal, file, ": tensor ", printable(name), ": ", parts...);
    };
    if (!tensor.defined()) throw fail("is not defined");
    if (tensor.layout() != c10::kStrided) throw fail("is not dense");
    const Dtype* dtype = find_dtype(tensor.scalar_type());
    if (dtype == nullptr) throw fail("the format has no dtype for ", tensor.scalar_type());
    if (dtype->bits < 8 && tensor.dim() == 0) throw fail("half a byte cannot be written");
    items.push_back({dtype, &name, &tensor});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.dtype->rank != b.dtype->rank ? a.dtype->rank > b.dtype->rank : *a.name < *b.name;
  });
  return items;
}

/// The tensor as it goes into a file; a copy only where it is not that already.
at::Tensor plain_bytes(const at::Tensor& tensor) {
  return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
}

Header layout(const std::vector<Item>& items, const Metadata& metadata) {
  Header header{metadata, {}};
  uint64_t next = 0;
  for (const auto& item : items) {
    auto shape = item.tensor->sizes().vec();
    if (item.dtype->bits == 4) shape.back() *= 2;  // the file counts elements, LibTorch bytes
    const uint64_t bytes = item.tensor->numel() * item.tensor->element_size();
    header.entries.push_back(
        {*item.name, std::string(item.dtype->name), std::move(shape), next, next + bytes, ""});
    next += bytes;
  }
  return header;
}

}  // namespace

Written write_tensors(const std::filesystem::path& file, const NamedTensors& tensors,
                      const Metadata& metadata, bool checksums) {
  const auto items = in_order(file.string(), tensors);
  auto header = layout(items, metadata);
  if (checksums) {
    // The header comes first, so all is read twice; a checksum is far faster than a disk.
    for (size_t i = 0; i < items.size(); ++i) {
      const auto plain = plain_bytes(*items[i].tensor);
      header.entries[i].xxh3 = xxh3(plain.const_data_ptr(), plain.nbytes());
    }
    header.metadata = with_checksums(header);
  }
  const auto text = format_header(file.string(), header);
  AtomicFile out(file);
  Xxh3 hash;
  const auto write = [&](const void* data, size_t bytes) {
    hash.update(data, bytes);
    out.write(data, bytes);
  };
  const uint64_t length = text.size();
  write(&length, sizeof length);
  write(text.data(), text.size());
  for (const auto& item : items) {
    // One at a time: never more than one copy in memory.
    const auto plain = plain_bytes(*item.tensor);
    write(plain.const_data_ptr(), plain.nbytes());
  }
  out.commit();
  return {out.size(), hash.digest()};
}

void write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                       const Metadata& metadata) {
  write_tensors(file, tensors, metadata, /*checksums=*/false);
}

struct SafeTensorsStream::Impl {
  AtomicFile file;
  std::string name;
  size_t header_bytes;
  Header header;
  const Dtype* dtype = nullptr;  // of the open tensor
  uint64_t row_bytes = 0;        // of its rows
  std::optional<Xxh3> hash;      // of its bytes
  bool sealed = false;

  Impl(const std::filesystem::path& path, size_t bytes)
      : file(path), name(path.string()), header_bytes((bytes + 7) / 8 * 8) {}

  uint64_t position() const { return file.size() - sizeof(uint64_t) - header_bytes; }
  template <class... Parts>
  Error bug(const Parts&... parts) const {
    return Error(Exit::internal, name, ": ", parts...);
  }
  void end_tensor();
};

void SafeTensorsStream::Impl::end_tensor() {
  if (dtype == nullptr) return;
  auto& entry = header.entries.back();
  entry.end = position();
  const uint64_t bytes = entry.end - entry.begin;
  if (bytes % row_bytes != 0)
    throw bug("tensor ", printable(entry.name), ": ", bytes, " bytes are no whole number of ",
              row_bytes, ", the bytes of a row");
  entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(bytes / row_bytes));
  entry.xxh3 = hash->digest();
  dtype = nullptr;
}

SafeTensorsStream::SafeTensorsStream(const std::filesystem::path& file, size_t header_bytes)
    : impl_(std::make_unique<Impl>(file, header_bytes)) {
  const std::string blank(sizeof(uint64_t) + impl_->header_bytes, ' ');
  impl_->file.write(blank);
}

SafeTensorsStream::~SafeTensorsStream() = default;

void SafeTensorsStream::begin(const std::string& name, const std::string& dtype,
                              const std::vector<int64_t>& row) {
  if (impl_->sealed) throw impl_->bug("begin after seal");
  impl_->end_tensor();
  const Dtype* type = find_dtype(dtype);
  if (type == nullptr || type->bits % 8 != 0)
    throw impl_->bug("tensor ", printable(name), ": no dtype for a stream: ", printable(dtype));
  const uint64_t at = impl_->position();
  if (at % (type->bits / 8) != 0)
    throw impl_->bug("tensor ", printable(name), ": ", dtype, " cannot begin at byte ", at,
                     ": begin the widest first");
  impl_->row_bytes = type->bits / 8;
  for (const int64_t size : row) {
    if (size < 1) throw impl_->bug("tensor ", printable(name), ": rows of size ", size);
    impl_->row_bytes *= static_cast<uint64_t>(size);
  }
  impl_->dtype = type;
  impl_->hash.emplace();
  impl_->header.entries.push_back({name, dtype, row, at, at, ""});
}

void SafeTensorsStream::append(const void* data, size_t bytes) {
  if (impl_->dtype == nullptr) throw impl_->bug("append before begin");
  impl_->hash->update(data, bytes);
  impl_->file.write(data, bytes);
}

void SafeTensorsStream::seal(const Metadata& metadata) {
  if (impl_->sealed) throw impl_->bug("seal twice");
  impl_->end_tensor();
  impl_->header.metadata = metadata;
  impl_->header.metadata = with_checksums(impl_->header);
  auto text = format_header(impl_->name, impl_->header);
  if (text.size() > impl_->header_bytes)
    throw impl_->bug("the header takes ", text.size(), " bytes, reserved are ",
                     impl_->header_bytes);
  text.resize(impl_->header_bytes, ' ');
  const uint64_t length = text.size();
  impl_->file.write_at(0, &length, sizeof length);
  impl_->file.write_at(sizeof length, text.data(), text.size());
  impl_->file.seal();
  impl_->sealed = true;
}

void SafeTensorsStream::commit() {
  if (!impl_->sealed) throw impl_->bug("commit before seal");
  impl_->file.commit();
}

}  // namespace lact::io
