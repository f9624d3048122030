#pragma once
// What values of a pickle are made of, and what reading may cost.

#include <lact/error.hpp>
#include <lact/io/pickle.hpp>

#include "dtype.hpp"
#include "mapping.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace lact::io {

struct Known;  // pickle_globals.hpp

/// Bytes of the file, or of a string that was made of them.
struct Blob {
  std::string_view view;
  std::shared_ptr<const Mapping> file;
  std::shared_ptr<const std::string> own;
};

struct PickleDict {
  std::vector<std::pair<Value, Value>> pairs;
  std::unordered_set<std::string_view> keys;  // those that are text
};

/// The elements that tensors share. Of a file that is still being read, `blob` may come later than
/// `bytes`.
struct Storage {
  const Dtype* dtype = nullptr;  // of the class that it was saved as
  uint64_t bytes = 0;
  Blob blob;
  bool swapped = false;  // big-endian
  bool filled = false;
  std::shared_ptr<const Storage> base;  // of a view: its bytes begin `base_offset` bytes in
  uint64_t base_offset = 0;
};

struct PickledTensor::Layout {
  const Dtype* dtype = nullptr;
  std::vector<int64_t> shape, strides;  // strides in elements
  uint64_t offset = 0;                  // in elements
  uint64_t bytes = 0;
  bool swapped = false;
  std::shared_ptr<const Storage> storage;
};

/// numpy.dtype, while arrays are made with it.
struct NumpyType {
  const Dtype* dtype = nullptr;
  bool swapped = false;
};
/// numpy.ndarray before it is told its content.
struct Unfinished {};

struct Value::Node {
  Kind kind = Kind::none;
  uint32_t depth = 1;   // levels of containers, with itself
  uint64_t weight = 1;  // values in it, counted as often as they are reached
  bool placed = false;  // in a container, so that it may change no more: nothing contains itself
  std::variant<std::monostate, Blob, std::vector<Value>, PickleDict, PickledTensor,
               std::shared_ptr<Storage>, NumpyType, Unfinished, const Known*>
      content;
};

/// Where a file is being read, and how much more may be spent on it.
struct Reading {
  std::shared_ptr<const Mapping> file;
  std::string where;  // "m.pt: data.pkl"
  uint64_t byte = 0;  // of the opcode, in its pickle
  uint64_t structure_bytes = 0;
  uint64_t data_bytes = 0;

  explicit Reading(std::shared_ptr<const Mapping> of);

  template <class... Parts>
  Error fail(const Parts&... parts) const {
    return Error(Exit::data, where, ": byte ", byte, ": ", parts...);
  }
  /// Before so much memory is taken for values.
  void charge(uint64_t bytes);
  /// Before so many bytes of elements can be asked for: views of one storage, counted each.
  void charge_data(uint64_t bytes);
};

Value make_node(Reading& reading, Value::Kind kind, decltype(Value::Node::content) content);
/// A list or tuple. Errors: as place().
Value make_sequence(Reading& reading, Value::Kind kind, std::vector<Value> items);
Value make_blob(Reading& reading, Value::Kind kind, Blob blob);
Value make_tensor(Reading& reading, PickledTensor::Layout layout);

/// What the node holds, null if it is nothing of that type.
template <class Content>
Content* holds(const Value& value) {
  auto* node = value.node();
  return node == nullptr ? nullptr : std::get_if<Content>(&node->content);
}

// Changes of a container. Errors: 65 if it is in another already, nests too deeply or holds too
// much; a key twice.
void append(Reading& reading, Value::Node& list, Value item);
void insert(Reading& reading, Value::Node& dict, Value key, Value value);

}  // namespace lact::io
