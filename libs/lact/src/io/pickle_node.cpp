#include "pickle_node.hpp"

#include <lact/io/files.hpp>

namespace lact::io {
namespace {

constexpr uint64_t kFreeBytes = uint64_t{16} << 20;      // any file may cost that much
constexpr uint64_t kMaxStructure = uint64_t{512} << 20;  // of 200 000 tensors
constexpr uint64_t kStructureFactor = 32;  // torch.save's own pickles cost 10 times their bytes
constexpr uint64_t kDataFactor = 4;        // tied weights, and some more
constexpr uint64_t kNodeBytes = sizeof(Value::Node) + 48;  // and what allocating it takes
constexpr uint64_t kKeyBytes = 64;
constexpr uint32_t kMaxDepth = 100;
constexpr uint64_t kMaxWeight = 10'000'000;

void spend(const Reading& reading, uint64_t& left, uint64_t bytes, const char* what) {
  if (bytes > left)
    throw reading.fail("takes more memory for ", what, " than a file of ", reading.file->size(),
                       " bytes may; refused");
  left -= bytes;
}

/// Notes that `child` is now in `parent`.
void place(Reading& reading, Value::Node& parent, const Value& child) {
  uint64_t weight = 1;
  if (auto* node = child.node()) {
    if (node == &parent) throw reading.fail("contains itself; refused");
    node->placed = true;
    parent.depth = std::max(parent.depth, node->depth + 1);
    weight = node->weight;
  }
  parent.weight += weight;  // both below kMaxWeight: no overflow
  if (parent.depth > kMaxDepth)
    throw reading.fail("nested deeper than ", kMaxDepth, " levels; refused");
  if (parent.weight > kMaxWeight)
    throw reading.fail("holds more than ", kMaxWeight, " values; refused");
}

void change(const Reading& reading, const Value::Node& container) {
  if (container.placed)
    throw reading.fail("changes what is inside something else already; refused");
}

}  // namespace

Reading::Reading(std::shared_ptr<const Mapping> of)
    : file(std::move(of)), where(file->path().string()) {
  const uint64_t size = std::min(file->size(), UINT64_MAX / 64);
  structure_bytes = std::min(kFreeBytes + kStructureFactor * size, kMaxStructure);
  data_bytes = kFreeBytes + kDataFactor * size;
}

void Reading::charge(uint64_t bytes) {
  spend(*this, structure_bytes, bytes, "values");
}

void Reading::charge_data(uint64_t bytes) {
  spend(*this, data_bytes, bytes, "tensors");
}

Value make_node(Reading& reading, Value::Kind kind, decltype(Value::Node::content) content) {
  reading.charge(kNodeBytes);
  auto node = std::make_shared<Value::Node>();
  node->kind = kind;
  node->content = std::move(content);
  return Value(std::move(node));
}

Value make_sequence(Reading& reading, Value::Kind kind, std::vector<Value> items) {
  reading.charge(items.size() * sizeof(Value));
  auto made = make_node(reading, kind, std::move(items));
  for (const auto& item : made.items()) place(reading, *made.node(), item);
  return made;
}

Value make_blob(Reading& reading, Value::Kind kind, Blob blob) {
  return make_node(reading, kind, std::move(blob));
}

Value make_tensor(Reading& reading, PickledTensor::Layout layout) {
  reading.charge(sizeof layout + 2 * sizeof(int64_t) * layout.shape.size());
  reading.charge_data(layout.bytes);
  return make_node(reading, Value::Kind::tensor,
                   PickledTensor(std::make_shared<const PickledTensor::Layout>(std::move(layout))));
}

void append(Reading& reading, Value::Node& list, Value item) {
  change(reading, list);
  reading.charge(2 * sizeof(Value));  // a vector grows by doubling
  place(reading, list, item);
  std::get<std::vector<Value>>(list.content).push_back(std::move(item));
}

void insert(Reading& reading, Value::Node& dict, Value key, Value value) {
  change(reading, dict);
  reading.charge(4 * sizeof(Value));
  place(reading, dict, key);
  place(reading, dict, value);
  auto& [pairs, keys] = std::get<PickleDict>(dict.content);
  if (key.kind() == Value::Kind::text) {
    reading.charge(kKeyBytes);
    if (!keys.insert(key.text()).second)
      throw reading.fail("key ", printable(key.text()), " comes twice");
  }
  pairs.emplace_back(std::move(key), std::move(value));
}

}  // namespace lact::io
