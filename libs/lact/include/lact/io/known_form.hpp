#pragma once
// What a file is, by its first bytes: so that a picture is not read as text, nor half a download as
// a model.

#include <cstddef>
#include <string>
#include <string_view>

namespace lact::io {

/// As many bytes as known_form() looks at.
inline constexpr size_t kFormBytes = 512;

/// "gzip data", "a PNG picture", "a Parquet table", ..., or "" for text and all that is not known.
std::string_view known_form(std::string_view head);

/// Errors   65 if `head` is of a known form, which `expected` ("text", "safetensors file") is not,
///          with what helps: "FILE: is xz data, no text: decompress it with xz -dc"
void refuse_other_form(const std::string& file, std::string_view head, std::string_view expected);

}  // namespace lact::io
