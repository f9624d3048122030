#pragma once
// The safetensors container: 8 bytes of header length, a JSON header, one byte buffer.
// Source: https://github.com/huggingface/safetensors (format section and tensor.rs), as strict as
// it.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace lact::io {

using Metadata = std::map<std::string, std::string>;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// One safetensors file, memory-mapped for reading.
///
/// Strict: the header is at most 100 MB of UTF-8 JSON without duplicate or unknown keys; the
/// tensors cover the buffer exactly, without holes or overlaps, in sizes that follow from shape and
/// dtype; at most 64 dimensions. Copies of a SafeTensors share the mapping.
///
/// Files of ours may hold checksums in their metadata: `lact.xxh3:NAME` of each tensor's bytes, and
/// `lact.xxh3` of all names, dtypes, shapes and other metadata. Then any changed byte is found: in
/// the header by open(), in a tensor by tensor() and verify(). (Blanks between the header's words
/// mean nothing.)
/// Errors     65 naming file and tensor if the content is malformed or damaged, 66 if it cannot be
///            read
class SafeTensors {
 public:
  struct Entry {
    std::string name;
    std::string dtype;  ///< as in the file: "F32", "BF16", "I64", ...
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  ///< bytes, within the buffer
    std::string xxh3;  ///< of these bytes, 32 hex digits; empty in a file without checksums
  };

  static SafeTensors open(const std::filesystem::path& file);

  const std::filesystem::path& path() const;
  /// Without the checksums.
  const Metadata& metadata() const;
  bool has_checksums() const;
  /// In the order of the buffer.
  const std::vector<Entry>& entries() const;
  bool contains(const std::string& name) const;
  const Entry& entry(const std::string& name) const;

  /// The tensor as a view of the mapping, which it keeps alive; not to be written to. A copy where
  /// the file leaves it unaligned.
  /// Errors   65 if there is no such tensor, LibTorch has no such dtype, a BOOL is neither 0 nor 1,
  ///          the bytes do not match their checksum, or the file has shrunk since it was opened
  at::Tensor tensor(const std::string& name) const;

  /// Where the tensor's bytes lie, for readers that need no tensor. They are not compared with
  /// their checksum.
  const std::byte* bytes(const std::string& name) const;

  /// Compares a tensor's bytes with their checksum, if the file has any. Reads all of them.
  /// Errors   65 naming the tensor
  void verify(const std::string& name) const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

/// Writes a whole file, atomically: it appears complete or not at all. Any device, any strides.
/// Tensors are aligned as the Python package does it: by dtype size, largest first, then by name.
/// Errors     73 if it cannot be created, 74 if a write fails
void write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                       const Metadata& metadata = {});

/// Writes a file whose tensors grow while they are written, in constant memory: one tensor after
/// another, each of a length that is known at its end. Has checksums.
class SafeTensorsStream {
 public:
  /// header_bytes is reserved in front (the header is padded with spaces, as the format allows).
  SafeTensorsStream(const std::filesystem::path& file, size_t header_bytes = 16384);
  ~SafeTensorsStream();
  SafeTensorsStream(const SafeTensorsStream&) = delete;
  SafeTensorsStream& operator=(const SafeTensorsStream&) = delete;

  /// Ends the tensor before it. `dtype` as in the file ("U16"). The shape is [n, row...], where n
  /// follows from the bytes that are appended. A tensor must start at a multiple of its element
  /// size: begin the widest first (exit code 70 otherwise).
  void begin(const std::string& name, const std::string& dtype,
             const std::vector<int64_t>& row = {});
  void append(const void* data, size_t bytes);
  /// Writes the header and seals the file (AtomicFile::seal).
  void seal(const Metadata& metadata);
  /// Makes the file appear. Without it nothing appears.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lact::io
