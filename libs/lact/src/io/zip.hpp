#pragma once
// The zip archives of torch.save: stored entries, in one file, perhaps zip64.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace lact::io {

/// The entries of an archive, by name: views of `bytes`.
///
/// Strict, because readers that are lenient in different ways see different files in one archive:
/// the end record ends the file, the directory lies right before it, no entry is compressed,
/// encrypted, named twice, named otherwise in its own header, or overlaps another. CRCs are not
/// compared (torch.save can be told to write none).
/// Errors   65 naming `file` and the entry
std::map<std::string, std::string_view> read_zip(const std::string& file, std::string_view bytes);

}  // namespace lact::io
