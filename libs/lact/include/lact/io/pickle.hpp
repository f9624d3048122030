#pragma once
// Files of torch.save and pickles of NumPy arrays, read without executing anything: a small stack
// machine over the opcodes that these programs write, and a list of the names that a checkpoint
// needs. Any other name that a pickle calls is refused.
// Source: CPython's Lib/pickletools.py; torch/serialization.py; numpy/_core/src/multiarray.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lact::io {

/// A tensor or array that a file describes; its bytes stay in the mapped file.
class PickledTensor {
 public:
  struct Layout;  // src/io/pickle_node.hpp
  explicit PickledTensor(std::shared_ptr<const Layout> layout) : layout_(std::move(layout)) {}

  std::string_view dtype() const;  ///< as safetensors calls it: "F32", "BF16", ...
  const std::vector<int64_t>& shape() const;
  uint64_t bytes() const;  ///< of all elements
  /// On the CPU, contiguous. A view of the mapping, which it keeps alive and which is not to be
  /// written to, where the elements lie there in order and aligned; else a copy.
  /// Errors   65 naming file and `name`: a BOOL is neither 0 nor 1; the file has shrunk since it
  ///          was opened
  at::Tensor read(std::string name = "") const;

  const Layout& layout() const { return *layout_; }  ///< for the reader

 private:
  std::shared_ptr<const Layout> layout_;
};

/// What a pickle holds. Copies share it; nothing contains itself.
class Value {
 public:
  enum class Kind {
    none,
    boolean,
    integer,
    large,  ///< an integer of more than 64 bits; bytes() has it, little end first
    real,
    text,
    bytes,
    list,
    tuple,
    dict,
    tensor,
    name,  ///< a class, function or dtype that nothing was made of; "torch.float32"
  };
  struct Node;  // src/io/pickle_node.hpp

  Value() = default;
  explicit Value(bool value) : is_(value) {}
  explicit Value(int64_t value) : is_(value) {}
  explicit Value(double value) : is_(value) {}
  explicit Value(std::shared_ptr<Node> node) : is_(std::move(node)) {}

  Kind kind() const;
  /// "an integer", "a list": for messages.
  const char* word() const;

  // Of a value of that kind. Errors: 70 for another.
  bool boolean() const;
  int64_t integer() const;
  double real() const;
  std::string_view text() const;  ///< text, name; UTF-8, but for text that Python 2 wrote
  std::string_view bytes() const;
  const std::vector<Value>& items() const;                    ///< list, tuple
  const std::vector<std::pair<Value, Value>>& pairs() const;  ///< dict, in its order
  const PickledTensor& tensor() const;
  /// The value of a dict's key; null if this is no dict or does not have it.
  const Value* find(std::string_view key) const;

  Node* node() const;  ///< null for none, boolean, integer and real

 private:
  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<Node>> is_;
};

/// Reads a file of torch.save (zip, or as before PyTorch 1.6) or a plain pickle, of protocol 2 to
/// 5. Tensors tagged with another device are read as the CPU's.
///
/// Takes no more memory than a small factor of the file's size, and at most 512 MiB for what is not
/// tensors. Of dicts with attributes (OrderedDict with _metadata) the attributes are left out. The
/// CRC of zip entries is not compared: torch.save can be told not to compute it.
/// Errors     65 naming file and byte: malformed, truncated, compressed, a name that no checkpoint
///            needs (posix.system), a tensor beyond its storage, nested deeper than 100 levels, a
///            key twice; 66 if it cannot be read
Value read_pickle(const std::filesystem::path& file);

}  // namespace lact::io
