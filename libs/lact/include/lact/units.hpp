#pragma once
// Large numbers as people read them, the same in every table.

#include <string>

namespace lact {

/// "3.09 GiB": powers of 1024.
std::string bytes_text(double bytes);
/// "38.23 M": powers of 1000.
std::string count_text(double count);

}  // namespace lact
