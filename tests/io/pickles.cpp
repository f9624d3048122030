#include "pickles.hpp"

#include <cstring>

namespace lact::test::pickles {
namespace {

template <class Number>
std::string raw(Number value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string joined(const Texts& values) {
  std::string all;
  for (const auto& one : values) all += one;
  return all;
}

std::string numbers(const std::vector<int64_t>& values) {
  Texts all;
  for (const int64_t one : values) all.push_back(number(one));
  return tuple(all);
}

std::string local_header(const Part& part) {
  const auto& name = part.header_name.value_or(part.name);
  const auto size = static_cast<uint32_t>(part.content.size());
  return raw(uint32_t{0x04034b50}) + raw(uint16_t{20}) + raw(part.flags) + raw(part.method) +
         raw(uint32_t{0}) + raw(uint32_t{0}) + raw(size) + raw(size) +
         raw(static_cast<uint16_t>(name.size())) + raw(uint16_t{0}) + name;
}

std::string directory_entry(const Part& part, uint32_t header) {
  const auto size = static_cast<uint32_t>(part.content.size());
  return raw(uint32_t{0x02014b50}) + raw(uint16_t{20}) + raw(uint16_t{20}) + raw(part.flags) +
         raw(part.method) + raw(uint32_t{0}) + raw(uint32_t{0}) + raw(part.packed.value_or(size)) +
         raw(part.size.value_or(size)) + raw(static_cast<uint16_t>(part.name.size())) +
         raw(static_cast<uint16_t>(part.extra.size())) + raw(uint16_t{0}) + raw(uint16_t{0}) +
         raw(uint16_t{0}) + raw(uint32_t{0}) + raw(part.header.value_or(header)) + part.name +
         part.extra;
}

}  // namespace

std::string text(const std::string& characters) {
  return "X" + raw(static_cast<uint32_t>(characters.size())) + characters;
}

std::string number(int64_t value) {
  return "\x8a\x08" + raw(value);
}

std::string tuple(const Texts& values) {
  return "(" + joined(values) + "t";
}

std::string list(const Texts& values) {
  return "](" + joined(values) + "e";
}

std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "}(";
  for (const auto& [key, value] : items) all += text(key) + value;
  return all + "u";
}

std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

std::string call(const std::string& callee, const Texts& arguments) {
  return callee + tuple(arguments) + "R";
}

std::string storage(const std::string& type, const std::string& key, int64_t count) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), number(count)}) +
         "Q";
}

std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, number(offset), numbers(shape), numbers(strides), "\x89",
               call(global("collections", "OrderedDict"), {})});
}

std::string array(const std::vector<int64_t>& shape, const std::string& bytes,
                  const std::string& order) {
  const auto type =
      call(global("numpy", "dtype"), {text("f4"), "\x89", "\x88"}) +
      tuple({number(3), text(order), "N", "N", "N", number(-1), number(-1), number(0)}) + "b";
  const auto content = "B" + raw(static_cast<uint32_t>(bytes.size())) + bytes;
  return call(global("numpy.core.multiarray", "_reconstruct"),
              {global("numpy", "ndarray"), numbers({0}),
               "C\x01"
               "b"}) +
         tuple({number(1), numbers(shape), type, "\x89", content}) + "b";
}

std::string pickle(const std::string& value) {
  return "\x80\x02" + value + ".";
}

std::string zip(const Zip& archive) {
  std::string bytes, directory;
  for (const auto& part : archive.parts) {
    directory += directory_entry(part, static_cast<uint32_t>(bytes.size()));
    bytes += local_header(part) + part.content;
  }
  const auto begin = static_cast<uint32_t>(bytes.size());
  const auto count = archive.count.value_or(static_cast<uint16_t>(archive.parts.size()));
  return bytes + directory + archive.before_end + raw(uint32_t{0x06054b50}) + raw(uint32_t{0}) +
         raw(count) + raw(count) + raw(static_cast<uint32_t>(directory.size())) +
         raw(archive.directory.value_or(begin)) +
         raw(static_cast<uint16_t>(archive.after_end.size())) + archive.after_end;
}

Zip archive(const std::string& value,
            const std::vector<std::pair<std::string, std::string>>& data) {
  Zip made{{{"m/data.pkl", pickle(value)}, {"m/byteorder", "little"}}};
  for (const auto& [key, bytes] : data) made.parts.push_back({"m/data/" + key, bytes});
  return made;
}

std::string old_file(const std::string& value, const std::vector<OldStorage>& storages) {
  Texts keys;
  std::string data;
  for (const auto& [key, count, bytes] : storages) {
    keys.push_back(text(key));
    data += raw(count) + bytes;
  }
  return pickle("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + pickle("M\xe9\x03") +
         pickle(dict({{"little_endian", "\x88"}})) + pickle(value) + pickle(list(keys)) + data;
}

std::string floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace lact::test::pickles
