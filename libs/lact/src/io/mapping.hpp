#pragma once
// A regular file mapped for reading: what the containers of this room stand on.

#include "descriptor.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace lact::io {

/// What is mapped, for mapped_file().
struct Region {
  const std::byte* begin = nullptr;
  uint64_t size = 0;
  const char* path = nullptr;
};

class Mapping {
 public:
  /// Opens and measures; nothing is mapped yet.
  /// Errors   66 if it is missing, unreadable or no regular file
  explicit Mapping(std::filesystem::path file);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }

  /// Copies bytes out of the file, without the mapping.
  void read(void* into, size_t bytes, uint64_t offset) const;
  /// Errors   66, 71 for want of address space
  void map();
  /// Where the mapping begins.
  /// Errors   65 if the file has shrunk since it was opened: reading beyond its end raises SIGBUS.
  ///          Who cuts the file later than this ends the program (cli::run says why).
  const std::byte* data() const;

 private:
  std::filesystem::path path_;
  Descriptor file_;
  uint64_t size_ = 0;
  void* base_ = nullptr;
  Region region_;
};

}  // namespace lact::io
