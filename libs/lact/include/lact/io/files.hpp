#pragma once
// Files that appear whole or not at all, and checked reads.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace lact::io {

/// An output file: written to a temporary name beside its target, made durable (fsync of file and
/// folder) and renamed by commit(). Destroyed without commit() it leaves nothing behind.
/// "-" (stdout), devices and pipes cannot be replaced: what is written to them goes out directly.
/// Errors     73 if it cannot be created, 74 if writing, syncing or renaming fails; both name it
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Overwrites bytes that were written before; the position stays at the end.
  void write_at(uint64_t offset, const void* data, size_t bytes);
  uint64_t size() const;
  /// All that can fail for want of space: what was written is on the disk, under the temporary
  /// name. Nothing may be written after it. Files that belong together are all sealed before the
  /// first is committed.
  void seal();
  /// seal(), if that was not done, and the renaming.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes text to `target` ("-": stdout), whole or not at all.
void write_text(const std::filesystem::path& target, std::string_view text);

/// The whole file ("-": stdin), at most `limit` bytes.
/// Errors     66 if missing or unreadable, 65 if longer than the limit
std::string read_text(const std::filesystem::path& file, uint64_t limit = uint64_t{1} << 32);

/// A string that came out of a file, fit for one line on a terminal: control characters and bytes
/// that are not UTF-8 as \xNN, long ones cut.
std::string printable(std::string_view text);

/// Makes the folder's entries durable.
void sync_folder(const std::filesystem::path& folder);

/// Writes to a descriptor until all is written. SIGPIPE's error becomes a silent end (see
/// cli::run). Errors     74 naming `what`
void write_all(int descriptor, const void* data, size_t bytes, const std::string& what);

/// XXH3, 128 bits, in 32 hex digits. Fast; finds damage, not malice.
std::string xxh3(const void* data, size_t bytes);
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(const Xxh3&) = delete;
  Xxh3& operator=(const Xxh3&) = delete;
  void update(const void* data, size_t bytes);
  std::string digest() const;

 private:
  void* state_;
};

}  // namespace lact::io
