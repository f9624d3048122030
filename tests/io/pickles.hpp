#pragma once
// Pickles and their containers, put together opcode by opcode and record by record: also such as no
// program writes.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::test::pickles {

using Texts = std::vector<std::string>;

// Opcodes that leave one value on the stack.
std::string text(const std::string& characters);
std::string number(int64_t value);
std::string tuple(const Texts& values);
std::string list(const Texts& values);
std::string dict(const std::vector<std::pair<std::string, std::string>>& items);  // keys are text
std::string global(const std::string& module, const std::string& name);
std::string call(const std::string& callee, const Texts& arguments);
/// "FloatStorage", "0", 12 elements.
std::string storage(const std::string& type, const std::string& key, int64_t count);
std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides);
/// numpy.ndarray of float32, by _reconstruct and BUILD.
std::string array(const std::vector<int64_t>& shape, const std::string& bytes,
                  const std::string& order = "<");

/// With PROTO and STOP.
std::string pickle(const std::string& value);

/// One entry of a zip archive; what is set is what the directory says instead of the truth.
struct Part {
  std::string name, content;
  std::optional<std::string> header_name;  // in front of the content
  uint16_t method = 0, flags = 0;
  std::optional<uint32_t> size, packed, header;
  std::string extra;  // of the directory
};
struct Zip {
  std::vector<Part> parts;
  std::optional<uint16_t> count;
  std::optional<uint32_t> directory;
  std::string before_end, after_end;
};
std::string zip(const Zip& archive);

/// What torch.save writes: a pickle of `value`, and storages by key.
Zip archive(const std::string& value, const std::vector<std::pair<std::string, std::string>>& data);

/// The same before PyTorch 1.6. A storage: its key, number of elements, bytes.
struct OldStorage {
  std::string key;
  int64_t count;
  std::string bytes;
};
std::string old_file(const std::string& value, const std::vector<OldStorage>& storages);

/// The bytes of numbers.
std::string floats(const std::vector<float>& values);

}  // namespace lact::test::pickles
