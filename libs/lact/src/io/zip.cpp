#include "zip.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include "descriptor.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

// Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
namespace lact::io {
namespace {

constexpr uint32_t kLocalMark = 0x04034b50, kEntryMark = 0x02014b50, kEndMark = 0x06054b50,
                   kEnd64Mark = 0x06064b50, kLocatorMark = 0x07064b50;
constexpr size_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                 kLocatorBytes = 20;
constexpr uint16_t kEncrypted = 1 | 64, kStored = 0, kZip64Field = 1;
constexpr uint16_t kMore16 = 0xffff;  // the value is in a zip64 record
constexpr uint32_t kMore32 = 0xffffffff;

struct Directory {
  uint64_t entries = 0, begin = 0, bytes = 0;
};

struct Entry {
  std::string name;
  uint16_t method = 0;
  uint64_t header = 0, packed = 0, size = 0;
  uint64_t begin = 0;  // of the content
};

class ZipReader {
 public:
  ZipReader(const std::string& file, std::string_view bytes) : file_(file), bytes_(bytes) {}
  std::map<std::string, std::string_view> read();

 private:
  template <class... Parts>
  Error fail(const Parts&... parts) const {
    return Error(Exit::data, file_, ": ", parts...);
  }
  template <class Number>
  Number number(uint64_t at) const;
  std::string_view part(uint64_t at, uint64_t count, const char* what) const;
  Directory directory() const;
  Directory directory64(uint64_t locator, Directory small) const;
  Entry next_entry(uint64_t& at) const;
  void take_zip64(Entry& entry, std::string_view extra) const;
  void open(Entry& entry) const;

  const std::string& file_;
  std::string_view bytes_;
};

/// Of bytes that are known to be there.
template <class Number>
Number ZipReader::number(uint64_t at) const {
  Number value = 0;
  std::memcpy(&value, bytes_.data() + at, sizeof value);
  return value;
}

std::string_view ZipReader::part(uint64_t at, uint64_t count, const char* what) const {
  if (at > bytes_.size() || count > bytes_.size() - at)
    throw fail("zip: ", what, " lies beyond the end of the file");
  return bytes_.substr(at, count);
}

Directory ZipReader::directory() const {
  if (bytes_.size() < kEndBytes || number<uint32_t>(bytes_.size() - kEndBytes) != kEndMark)
    throw fail("zip: expected its end record at the end of the file: truncated, or with a comment");
  const uint64_t end = bytes_.size() - kEndBytes;
  const Directory small{number<uint16_t>(end + 10), number<uint32_t>(end + 16),
                        number<uint32_t>(end + 12)};
  if (number<uint32_t>(end + 4) != 0 || number<uint16_t>(end + 8) != small.entries ||
      number<uint16_t>(end + 20) != 0)
    throw fail("zip: expected one file without a comment, found a part of several");
  if (end >= kLocatorBytes && number<uint32_t>(end - kLocatorBytes) == kLocatorMark)
    return directory64(end - kLocatorBytes, small);
  if (small.begin + small.bytes != end)
    throw fail("zip: expected the directory right before the end record");
  return small;
}

Directory ZipReader::directory64(uint64_t locator, Directory small) const {
  const auto begin = number<uint64_t>(locator + 8);
  if (begin > locator || locator - begin != kEnd64Bytes || number<uint32_t>(begin) != kEnd64Mark ||
      number<uint64_t>(begin + 4) != kEnd64Bytes - 12)
    throw fail("zip: expected the zip64 end record right before its locator");
  const Directory large{number<uint64_t>(begin + 32), number<uint64_t>(begin + 48),
                        number<uint64_t>(begin + 40)};
  const auto fits = [](uint64_t value, uint64_t wide, uint64_t more) {
    return value == more || value == wide;
  };
  if (number<uint64_t>(begin + 16) != 0 || number<uint64_t>(begin + 24) != large.entries ||
      !fits(small.entries, large.entries, kMore16) || !fits(small.begin, large.begin, kMore32) ||
      !fits(small.bytes, large.bytes, kMore32))
    throw fail("zip: its two end records contradict each other");
  if (large.begin > begin || begin - large.begin != large.bytes)
    throw fail("zip: expected the directory right before the end record");
  return large;
}

void ZipReader::take_zip64(Entry& entry, std::string_view extra) const {
  while (extra.size() >= 4) {
    uint16_t head[2];
    std::memcpy(head, extra.data(), sizeof head);
    extra.remove_prefix(4);
    if (head[1] > extra.size()) break;
    auto field = extra.substr(0, head[1]);
    extra.remove_prefix(head[1]);
    if (head[0] != kZip64Field) continue;
    for (auto* value : {&entry.size, &entry.packed, &entry.header}) {
      if (*value != kMore32) continue;
      if (field.size() < sizeof *value) throw fail("zip: ", printable(entry.name), ": has no size");
      std::memcpy(value, field.data(), sizeof *value);
      field.remove_prefix(sizeof *value);
    }
    return;
  }
}

/// Reads one entry of the directory and moves to the next.
Entry ZipReader::next_entry(uint64_t& at) const {
  part(at, kEntryBytes, "an entry of the directory");
  if (number<uint32_t>(at) != kEntryMark) throw fail("zip: expected an entry of the directory");
  const uint64_t name = number<uint16_t>(at + 28), extra = number<uint16_t>(at + 30),
                 comment = number<uint16_t>(at + 32);
  part(at + kEntryBytes, name + extra + comment, "an entry of the directory");
  Entry entry{std::string(bytes_.substr(at + kEntryBytes, name)), number<uint16_t>(at + 10),
              number<uint32_t>(at + 42), number<uint32_t>(at + 20), number<uint32_t>(at + 24)};
  if (!is_utf8(entry.name)) throw fail("zip: ", printable(entry.name), ": its name is not UTF-8");
  take_zip64(entry, bytes_.substr(at + kEntryBytes + name, extra));
  if ((number<uint16_t>(at + 8) & kEncrypted) != 0)
    throw fail("zip: ", printable(entry.name), ": is encrypted");
  if (entry.method != kStored || entry.packed != entry.size)
    throw fail("zip: ", printable(entry.name),
               ": is compressed, as in TorchScript programs: expected what torch.save wrote");
  at += kEntryBytes + name + extra + comment;
  return entry;
}

/// Finds the content behind the entry's own header.
void ZipReader::open(Entry& entry) const {
  const auto printed = printable(entry.name);
  part(entry.header, kLocalBytes, printed.c_str());
  const uint64_t name = number<uint16_t>(entry.header + 26),
                 extra = number<uint16_t>(entry.header + 28);
  part(entry.header + kLocalBytes, name + extra, printed.c_str());
  // Sizes may stand behind the content instead, or in the extra field.
  const auto size = number<uint32_t>(entry.header + 22);
  if (number<uint32_t>(entry.header) != kLocalMark ||
      bytes_.substr(entry.header + kLocalBytes, name) != entry.name ||
      number<uint16_t>(entry.header + 8) != entry.method ||
      (size != 0 && size != kMore32 && size != entry.size))
    throw fail("zip: ", printed, ": its header and the directory contradict each other");
  entry.begin = entry.header + kLocalBytes + name + extra;
  part(entry.begin, entry.size, printed.c_str());
}

std::map<std::string, std::string_view> ZipReader::read() {
  const auto where = directory();
  if (where.entries > where.bytes / kEntryBytes)
    throw fail("zip: a directory of ", where.bytes, " bytes cannot hold ", where.entries,
               " entries");
  std::vector<Entry> entries;
  uint64_t at = where.begin;
  for (uint64_t i = 0; i < where.entries; ++i) entries.push_back(next_entry(at));
  if (at != where.begin + where.bytes) throw fail("zip: more bytes in the directory than entries");
  std::map<std::string, std::string_view> contents;
  for (auto& entry : entries) {
    open(entry);
    if (!contents.emplace(entry.name, bytes_.substr(entry.begin, entry.size)).second)
      throw fail("zip: ", printable(entry.name), ": comes twice");
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.header < b.header; });
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t next = i + 1 < entries.size() ? entries[i + 1].header : where.begin;
    if (entries[i].begin + entries[i].size > next)
      throw fail("zip: ", printable(entries[i].name), ": overlaps what follows it");
  }
  return contents;
}

}  // namespace

std::map<std::string, std::string_view> read_zip(const std::string& file, std::string_view bytes) {
  return ZipReader(file, bytes).read();
}

}  // namespace lact::io
