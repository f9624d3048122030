#pragma once
// Broken safetensors files, each with the rule it breaks.

#include <string>
#include <vector>

namespace lact::test {

struct Malformed {
  std::string what;
  std::string bytes;
  std::string words;             // that the message must hold
  bool package_reads_it{false};  // the Python package is less strict here
};

std::vector<Malformed> malformed_files();

/// A file with several tensors, names in UTF-8 and metadata, nothing wrong with it.
std::string sound_file();

}  // namespace lact::test
