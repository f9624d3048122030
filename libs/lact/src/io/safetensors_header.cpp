#include "safetensors_header.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include "descriptor.hpp"
#include "dtype.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>

namespace lact::io {
namespace {

constexpr const char* kMetadataKey = "__metadata__";
constexpr const char* kHeaderXxh3 = "lact.xxh3";
constexpr std::string_view kTensorXxh3 = "lact.xxh3:";  // and the tensor's name

/// Takes the header's JSON event by event. Nothing but the one form that the format knows passes:
/// a tree built first would lose duplicate keys and let numbers change their kind.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Header header;
  std::string problem;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override { return unexpected(concat(value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool binary(binary_t&) override { return unexpected("bytes"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& text) override;
  bool key(string_t& text) override;
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override;

 private:
  enum class Place { start, top, metadata, tensor, shape, offsets, end };
  enum Field : unsigned { kNone = 0, kDtype = 1, kShape = 2, kOffsets = 4 };

  bool fail(const std::string& what) {
    problem = what;
    return false;
  }
  bool about_tensor(const std::string& what) {
    return fail(concat("tensor ", printable(entry_.name), ": ", what));
  }
  bool unexpected(const std::string& found);
  bool metadata_key(std::string& text);
  bool field_key(const std::string& text);

  Place place_ = Place::start;
  bool metadata_next_ = false, metadata_seen_ = false;
  std::string metadata_key_;
  std::unordered_set<std::string> names_;
  SafeTensors::Entry entry_;
  unsigned fields_ = kNone, field_ = kNone;
  std::vector<uint64_t> offsets_;
};

bool HeaderReader::unexpected(const std::string& what) {
  const std::string found = printable(what);
  switch (place_) {
    case Place::start:
    case Place::end:
      return fail(concat("header: expected an object, found ", found));
    case Place::top:
      if (metadata_next_)
        return fail(concat(kMetadataKey, ": expected an object of strings, found ", found));
      return about_tensor(concat("expected an object, found ", found));
    case Place::metadata:
      return fail(concat(kMetadataKey, ": ", printable(metadata_key_),
                         ": expected a string, found ", found));
    case Place::tensor:
      return about_tensor(concat(field_ == kDtype   ? "dtype: expected a string"
                                 : field_ == kShape ? "shape: expected a list"
                                                    : "data_offsets: expected a list",
                                 ", found ", found));
    case Place::shape:
      return about_tensor(concat("shape: expected whole numbers from 0, found ", found));
    case Place::offsets:
      return about_tensor(concat("data_offsets: expected two whole numbers from 0, found ", found));
  }
  return false;
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::shape) {
    if (value > static_cast<uint64_t>(INT64_MAX))
      return about_tensor(concat("shape: ", value, " is too large"));
    if (entry_.shape.size() == kMaxDimensions)
      return about_tensor(concat("shape: more than ", kMaxDimensions, " dimensions"));
    entry_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (place_ == Place::offsets) {
    if (offsets_.size() == 2) return about_tensor("data_offsets: expected two numbers, found more");
    offsets_.push_back(value);
    return true;
  }
  return unexpected(concat(value));
}

bool HeaderReader::string(string_t& text) {
  if (place_ == Place::metadata) {
    header.metadata.emplace(metadata_key_, std::move(text));
    return true;
  }
  if (place_ == Place::tensor && field_ == kDtype) {
    entry_.dtype = std::move(text);
    return true;
  }
  return unexpected(concat('"', text, '"'));
}

bool HeaderReader::key(string_t& text) {
  if (place_ == Place::metadata) return metadata_key(text);
  if (place_ == Place::tensor) return field_key(text);
  metadata_next_ = text == kMetadataKey;
  if (metadata_next_) {
    if (metadata_seen_) return fail(concat(kMetadataKey, ": comes twice"));
    metadata_seen_ = true;
    return true;
  }
  entry_ = {};
  entry_.name = std::move(text);
  if (!names_.insert(entry_.name).second) return about_tensor("comes twice");
  return true;
}

bool HeaderReader::metadata_key(std::string& text) {
  metadata_key_ = std::move(text);
  if (header.metadata.count(metadata_key_) > 0)
    return fail(concat(kMetadataKey, ": ", printable(metadata_key_), " comes twice"));
  return true;
}

bool HeaderReader::field_key(const std::string& text) {
  field_ = text == "dtype"          ? kDtype
           : text == "shape"        ? kShape
           : text == "data_offsets" ? kOffsets
                                    : kNone;
  if (field_ == kNone) return about_tensor(concat("unknown key ", printable(text)));
  if ((fields_ & field_) != 0) return about_tensor(concat(text, " comes twice"));
  fields_ |= field_;
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (place_ == Place::start) {
    place_ = Place::top;
  } else if (place_ == Place::top) {
    place_ = metadata_next_ ? Place::metadata : Place::tensor;
    fields_ = field_ = kNone;
    offsets_.clear();
  } else {
    return unexpected("an object");
  }
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::top) {
    place_ = Place::end;
    return true;
  }
  if (place_ == Place::tensor) {
    if (fields_ != (kDtype | kShape | kOffsets))
      return about_tensor("expected dtype, shape and data_offsets");
    if (offsets_.size() != 2) return about_tensor("data_offsets: expected two numbers");
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header.entries.push_back(std::move(entry_));
  }
  place_ = Place::top;
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (place_ != Place::tensor || field_ == kDtype) return unexpected("a list");
  place_ = field_ == kShape ? Place::shape : Place::offsets;
  return true;
}

bool HeaderReader::end_array() {
  place_ = Place::tensor;
  return true;
}

bool HeaderReader::parse_error(size_t, const std::string&,
                               const nlohmann::detail::exception& error) {
  return fail(concat("header: ", json_problem(error.what())));
}

/// Sizes follow from shapes, and the tensors cover the buffer from its first byte to its last.
void check_layout(const std::string& file, std::vector<SafeTensors::Entry>& entries,
                  uint64_t buffer_bytes) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t next = 0;
  for (const auto& entry : entries) {
    const auto fail = [&](const auto&... parts) {
      return Error(Exit::data, file, ": tensor ", printable(entry.name), ": ", parts...);
    };
    const Dtype* dtype = find_dtype(entry.dtype);
    if (dtype == nullptr) throw fail("unknown dtype ", printable(entry.dtype));
    const auto bytes = bytes_of(*dtype, entry.shape);
    if (!bytes) throw fail("the size of its shape overflows or is no whole number of bytes");
    if (entry.begin != next)
      throw fail("expected to begin at byte ", next, " of the buffer, found ", entry.begin,
                 entry.begin < next ? ": it overlaps another" : ": nothing covers the gap");
    if (entry.end < entry.begin || entry.end - entry.begin != *bytes)
      throw fail("expected ", *bytes, " bytes for its shape and dtype, found data_offsets ",
                 entry.begin, " to ", entry.end);
    if (entry.end > buffer_bytes)
      throw fail("ends at byte ", entry.end, " of the buffer, which has ", buffer_bytes,
                 ": the file is truncated");
    next = entry.end;
  }
  if (next != buffer_bytes)
    throw Error(Exit::data, file, ": ", buffer_bytes - next, " bytes after the last tensor");
}

/// As serde_json and Python write it: quotes, backslash and control characters escaped.
std::string quoted(const std::string& file, const std::string& text) {
  if (!is_utf8(text)) throw Error(Exit::internal, file, ": not UTF-8: ", printable(text));
  return nlohmann::json(text).dump();
}

bool is_tensor_checksum(const std::string& key) {
  return key.compare(0, kTensorXxh3.size(), kTensorXxh3) == 0;
}

/// Of all that the header says: metadata, names, dtypes, shapes.
std::string header_xxh3(const Metadata& metadata, const std::vector<SafeTensors::Entry>& entries) {
  Xxh3 hash;
  const auto add_number = [&](uint64_t value) { hash.update(&value, sizeof value); };
  const auto add = [&](const std::string& text) {
    add_number(text.size());  // so that no two headers give the same stream of bytes
    hash.update(text.data(), text.size());
  };
  add_number(metadata.size());
  for (const auto& [key, value] : metadata) {
    add(key);
    add(value);
  }
  for (const auto& entry : entries) {
    add(entry.name);
    add(entry.dtype);
    add_number(entry.shape.size());
    for (const int64_t size : entry.shape) add_number(static_cast<uint64_t>(size));
  }
  return hash.digest();
}

std::string format_entry(const std::string& file, const SafeTensors::Entry& entry) {
  std::string shape;
  for (const int64_t size : entry.shape) shape += concat(shape.empty() ? "" : ",", size);
  return concat(quoted(file, entry.name), R"(:{"dtype":")", entry.dtype, R"(","shape":[)", shape,
                R"(],"data_offsets":[)", entry.begin, ",", entry.end, "]}");
}

}  // namespace

Header parse_header(const std::string& file, std::string_view text, uint64_t buffer_bytes) {
  // Some writers align the data by white space before the header, too.
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (text.empty() || text.front() != '{')
    throw Error(Exit::data, file, ": no safetensors file: the header does not begin with {");
  // The JSON parser takes a NUL for the end of the text, and hides what follows it.
  if (text.find('\0') != text.npos)
    throw Error(Exit::data, file, ": header: a NUL character at byte ", text.find('\0'));
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader))
    throw Error(Exit::data, file, ": ", reader.problem);
  check_layout(file, reader.header.entries, buffer_bytes);
  return std::move(reader.header);
}

bool take_checksums(const std::string& file, Header& header) {
  auto& metadata = header.metadata;
  const auto own = metadata.extract(kHeaderXxh3);
  if (!own) {
    for (const auto& [key, value] : metadata)
      if (is_tensor_checksum(key))
        throw Error(Exit::data, file, ": header: damaged: ", printable(key), " without ",
                    kHeaderXxh3);
    return false;
  }
  if (const auto found = header_xxh3(metadata, header.entries); found != own.mapped())
    throw Error(Exit::data, file, ": header: damaged: expected XXH3 ", printable(own.mapped()),
                ", found ", found);
  for (auto& entry : header.entries) {
    const auto one = metadata.extract(concat(kTensorXxh3, entry.name));
    if (!one)
      throw Error(Exit::data, file, ": tensor ", printable(entry.name), ": has no checksum");
    entry.xxh3 = one.mapped();
  }
  for (const auto& [key, value] : metadata)
    if (is_tensor_checksum(key))
      throw Error(Exit::data, file, ": header: ", printable(key), ": there is no such tensor");
  return true;
}

Metadata with_checksums(const Header& header) {
  auto metadata = header.metadata;
  for (const auto& entry : header.entries) metadata[concat(kTensorXxh3, entry.name)] = entry.xxh3;
  // As it is read: the keys that it adds are part of what it is the sum of.
  metadata[kHeaderXxh3] = header_xxh3(metadata, header.entries);
  return metadata;
}

std::string format_header(const std::string& file, const Header& header) {
  std::string text = "{";
  const auto comma = [&] {
    if (text.back() != '{') text += ',';
  };
  if (!header.metadata.empty()) {
    text += concat('"', kMetadataKey, "\":{");
    for (const auto& [key, value] : header.metadata) {
      comma();
      text += concat(quoted(file, key), ":", quoted(file, value));
    }
    text += '}';
  }
  std::set<std::string_view> names{kMetadataKey};
  for (const auto& entry : header.entries) {
    if (!names.insert(entry.name).second)
      throw Error(Exit::internal, file, ": tensor ", printable(entry.name), ": comes twice");
    comma();
    text += format_entry(file, entry);
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxHeaderBytes)
    throw Error(Exit::internal, file, ": the header would take ", text.size(), " bytes");
  return text;
}

}  // namespace lact::io
