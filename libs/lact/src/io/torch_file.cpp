// The containers that pickles come in: zip archives of torch.save, its files before PyTorch 1.6,
// and pickles alone.
// Source: torch/serialization.py: _load, _legacy_load, _legacy_save.

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/known_form.hpp>
#include <lact/io/pickle.hpp>

#include "pickle_globals.hpp"
#include "pickle_machine.hpp"
#include "pickle_node.hpp"
#include "zip.hpp"

#include <cstring>
#include <map>

namespace lact::io {
namespace {

using Kind = Value::Kind;
using Values = std::vector<Value>;

constexpr std::string_view kPickle = "data.pkl";
// 0x1950a86a20f9469cfc6c: the first pickle of a file before PyTorch 1.6.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kOldFormat = 1001;

/// A persistent id, taken apart.
struct StorageId {
  const Dtype* dtype = nullptr;
  std::string key;
  uint64_t bytes = 0;
};

uint64_t bytes_of_elements(const Reading& reading, uint64_t count, const Dtype& dtype) {
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, uint64_t{dtype.bits / 8}, &bytes))
    throw reading.fail("a storage: its size overflows");
  return bytes;
}

StorageId storage_id(const Reading& reading, const Values& id) {
  if (id.empty() || id[0].kind() != Kind::text) throw reading.fail("expected a storage's tuple");
  const auto* type = id.size() > 1 ? holds<const Known*>(id[1]) : nullptr;
  if (id[0].text() != "storage" || type == nullptr || !(*type)->storage || id.size() < 5 ||
      id.size() > 6 || id[2].kind() != Kind::text)
    throw reading.fail("expected a storage: its class, key, place and size");
  const auto& dtype = *(*type)->dtype;
  const auto count = count_of(reading, id[4], "the size of a storage");
  return {&dtype, std::string(id[2].text()), bytes_of_elements(reading, count, dtype)};
}

std::shared_ptr<Storage> new_storage(Reading& reading, const StorageId& id) {
  reading.charge(2 * sizeof(Storage) + id.key.size());
  auto storage = std::make_shared<Storage>();
  storage->dtype = id.dtype;
  storage->bytes = id.bytes;
  return storage;
}

// --- zip -----------------------------------------------------------------------------------------

/// An archive's records, without the folder that all their names begin with.
class Archive {
 public:
  Archive(Reading& reading, std::string_view bytes);
  std::string_view record(const Reading& reading, const std::string& name) const;
  std::shared_ptr<Storage> storage(Reading& reading, const Values& id);

 private:
  std::map<std::string, std::string_view> records_;
  std::string folder_;  // with its slash
  bool swapped_ = false;
  std::map<std::string, std::shared_ptr<Storage>> storages_;
};

Archive::Archive(Reading& reading, std::string_view bytes)
    : records_(read_zip(reading.where, bytes)) {
  for (const auto& [name, content] : records_) {
    const auto slash = name.find('/');
    if (slash == name.npos || name.substr(slash + 1) != kPickle) continue;
    if (!folder_.empty()) throw Error(Exit::data, reading.where, ": zip: holds two of ", kPickle);
    folder_ = name.substr(0, slash + 1);
  }
  if (folder_.empty())
    throw Error(Exit::data, reading.where, ": a zip file, but not of torch.save: it has no ",
                kPickle);
  const auto order = records_.find(folder_ + "byteorder");
  if (order == records_.end()) return;  // of before 2.0
  if (order->second != "little" && order->second != "big")
    throw Error(Exit::data, reading.where, ": byteorder: expected little or big, found ",
                printable(order->second));
  swapped_ = order->second == "big";
}

std::string_view Archive::record(const Reading& reading, const std::string& name) const {
  const auto found = records_.find(folder_ + name);
  if (found == records_.end()) throw reading.fail("the file has no record ", printable(name));
  return found->second;
}

std::shared_ptr<Storage> Archive::storage(Reading& reading, const Values& values) {
  const auto id = storage_id(reading, values);
  const auto content = record(reading, "data/" + id.key);
  if (id.bytes > content.size())
    throw reading.fail("storage ", printable(id.key), ": expected ", id.bytes, " bytes, found ",
                       content.size());
  auto& storage = storages_[id.key];
  // One that is shared may be called by several classes: then each has its own view of it.
  if (storage && storage->dtype == id.dtype && storage->bytes == id.bytes) return storage;
  storage = new_storage(reading, id);
  storage->blob = {content, reading.file, nullptr};
  storage->swapped = swapped_;
  storage->filled = true;
  return storage;
}

Value read_archive(Reading& reading, std::string_view bytes) {
  Archive archive(reading, bytes);
  auto pickle = archive.record(reading, std::string(kPickle));
  reading.where = concat(reading.where, ": ", kPickle);
  auto value = run_pickle(reading, pickle,
                          [&](Reading& at, const Values& id) { return archive.storage(at, id); });
  if (!pickle.empty()) throw reading.fail(pickle.size(), " bytes follow the end of the pickle");
  return value;
}

// --- before PyTorch 1.6 --------------------------------------------------------------------------

/// Storages are named first; their bytes follow the last pickle.
class OldStorages {
 public:
  std::shared_ptr<Storage> find(Reading& reading, const Values& id);
  /// Each storage's count and bytes, in the order of `keys`.
  void fill(Reading& reading, const Value& keys, std::string_view bytes);

 private:
  std::map<std::string, std::shared_ptr<Storage>> storages_;
};

std::shared_ptr<Storage> OldStorages::find(Reading& reading, const Values& values) {
  const auto id = storage_id(reading, values);
  auto& storage = storages_[id.key];
  if (!storage) storage = new_storage(reading, id);
  if (storage->dtype != id.dtype || storage->bytes != id.bytes)
    throw reading.fail("storage ", printable(id.key), ": comes again with another type or size");
  if (values.size() == 5 || values[5].kind() == Kind::none) return storage;
  if (values[5].kind() != Kind::tuple || values[5].items().size() != 3)
    throw reading.fail("storage ", printable(id.key), ": expected a view of three numbers");
  const auto& view = values[5].items();  // key, offset, count
  const auto count = [&](const Value& one) {
    return bytes_of_elements(reading, count_of(reading, one, "a view of a storage"), *id.dtype);
  };
  auto part = new_storage(reading, {id.dtype, "", count(view[2])});
  part->base_offset = count(view[1]);
  if (part->base_offset > id.bytes || part->bytes > id.bytes - part->base_offset)
    throw reading.fail("storage ", printable(id.key), ": a view reaches beyond it");
  part->base = storage;
  return part;
}

void OldStorages::fill(Reading& reading, const Value& keys, std::string_view bytes) {
  if (keys.kind() != Kind::list) throw reading.fail("expected a list of keys, found ", keys.word());
  for (const auto& key : keys.items()) {
    const auto name = key.kind() == Kind::text ? std::string(key.text()) : std::string();
    const auto found = storages_.find(name);
    if (found == storages_.end() || found->second->filled)
      throw reading.fail("storage ", printable(name), ": is of no tensor, or comes twice");
    auto& storage = *found->second;
    const auto fail = [&](const auto&... parts) {
      return Error(Exit::data, reading.where, ": storage ", printable(name), ": ", parts...);
    };
    uint64_t count = 0;
    if (bytes.size() < sizeof count) throw fail("truncated: it has no size");
    std::memcpy(&count, bytes.data(), sizeof count);
    bytes.remove_prefix(sizeof count);
    const uint64_t expected = storage.bytes / (storage.dtype->bits / 8);
    if (count != expected) throw fail("expected ", expected, " elements, found ", count);
    if (bytes.size() < storage.bytes)
      throw fail("truncated: expected ", storage.bytes, " bytes, found ", bytes.size());
    storage.blob = {bytes.substr(0, storage.bytes), reading.file, nullptr};
    storage.filled = true;
    bytes.remove_prefix(storage.bytes);
  }
  for (const auto& [key, storage] : storages_)
    if (!storage->filled)
      throw Error(Exit::data, reading.where, ": storage ", printable(key), ": has no bytes");
  if (!bytes.empty())
    throw Error(Exit::data, reading.where, ": ", bytes.size(), " bytes follow the last storage");
}

/// The pickles after the magic number: format, system, value, keys.
Value read_old(Reading& reading, std::string_view rest, const FindStorage& none) {
  const auto format = run_pickle(reading, rest, none);
  if (format.kind() != Kind::integer || format.integer() != kOldFormat)
    throw reading.fail("expected format ", kOldFormat, " of torch.save, found another");
  run_pickle(reading, rest, none);  // of the machine that wrote it: bytes are little-endian always
  OldStorages storages;
  auto value = run_pickle(reading, rest,
                          [&](Reading& at, const Values& id) { return storages.find(at, id); });
  const auto keys = run_pickle(reading, rest, none);
  storages.fill(reading, keys, rest);
  return value;
}

}  // namespace

Value read_pickle(const std::filesystem::path& file) {
  auto mapping = std::make_shared<Mapping>(file);
  if (mapping->size() == 0) throw Error(Exit::data, file.string(), ": is empty");
  mapping->map();
  Reading reading(mapping);
  std::string_view bytes(reinterpret_cast<const char*>(mapping->data()), mapping->size());
  if (bytes.substr(0, 2) == "PK") return read_archive(reading, bytes);
  refuse_other_form(file.string(), bytes.substr(0, kFormBytes), "file of torch.save");
  if (bytes[0] != '\x80')
    throw Error(
        Exit::data, file.string(),
        ": no file of torch.save: expected a zip archive, or a pickle of protocol 2 or later");
  const FindStorage none = [](Reading& at, const Values&) -> std::shared_ptr<Storage> {
    throw at.fail("a storage outside a file of torch.save");
  };
  auto value = run_pickle(reading, bytes, none);
  if (value.kind() == Kind::large && value.bytes() == kMagic) return read_old(reading, bytes, none);
  if (!bytes.empty()) throw reading.fail(bytes.size(), " bytes follow the end of the pickle");
  return value;
}

}  // namespace lact::io
