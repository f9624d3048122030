#pragma once
// The JSON header of a safetensors file, in and out.

#include <lact/io/safetensors.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace lact::io {

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr size_t kMaxDimensions = 64;  // LibTorch's and NumPy's limit

struct Header {
  Metadata metadata;
  std::vector<SafeTensors::Entry> entries;  // in the order of the buffer
};

/// Errors   65 naming `file`, and the tensor if it is about one
Header parse_header(const std::string& file, std::string_view text, uint64_t buffer_bytes);

/// Takes the checksums out of the metadata, into the entries. False if there are none.
/// Errors   65 naming `file`, and the tensor if it is about one: the header does not match its
///          checksum, or not every tensor has one
bool take_checksums(const std::string& file, Header& header);

/// The metadata with the entries' checksums, and the header's own.
Metadata with_checksums(const Header& header);

/// Entries in the order given; padded with spaces so that the buffer begins at a multiple of 8.
/// Errors   70 if a name is not UTF-8, comes twice or is reserved, or the header is too long
std::string format_header(const std::string& file, const Header& header);

}  // namespace lact::io
