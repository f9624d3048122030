// What callers see of a pickle: values, and tensors out of the mapped file.

#include <lact/io/files.hpp>
#include <lact/io/pickle.hpp>

#include "pickle_globals.hpp"
#include "pickle_node.hpp"

#include <algorithm>
#include <cstring>

namespace lact::io {
namespace {

template <class Content>
const Content& expect(const Content* found, const Value& value, const char* wanted) {
  if (found == nullptr)
    throw Error(Exit::internal, "pickle: expected ", wanted, ", found ", value.word());
  return *found;
}

bool in_order(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  int64_t next = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != next) return false;
    next *= shape[i];
  }
  return true;
}

/// Elements from the first to the last, as they lie in the storage.
uint64_t span_of(const PickledTensor::Layout& layout) {
  uint64_t last = 0;
  for (size_t i = 0; i < layout.shape.size(); ++i)
    last += static_cast<uint64_t>((layout.shape[i] - 1) * layout.strides[i]);
  return last + 1;
}

/// The bytes of numbers with the other end first. Numbers, because a complex one has two.
std::shared_ptr<const std::string> swapped(std::string_view bytes, const Dtype& dtype) {
  const size_t width = dtype.torch == c10::ScalarType::ComplexFloat ? 4 : dtype.bits / 8;
  auto turned = std::make_shared<std::string>(bytes);
  for (size_t i = 0; i + width <= turned->size(); i += width)
    std::reverse(turned->begin() + i, turned->begin() + i + width);
  return turned;
}

}  // namespace

// --- values --------------------------------------------------------------------------------------

Value::Node* Value::node() const {
  const auto* node = std::get_if<std::shared_ptr<Node>>(&is_);
  return node == nullptr ? nullptr : node->get();
}

Value::Kind Value::kind() const {
  constexpr Kind kScalars[] = {Kind::none, Kind::boolean, Kind::integer, Kind::real};
  const auto* one = node();
  return one != nullptr ? one->kind : kScalars[is_.index()];
}

const char* Value::word() const {
  switch (kind()) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "a boolean";
    case Kind::integer:
    case Kind::large:
      return "an integer";
    case Kind::real:
      return "a number";
    case Kind::text:
      return "text";
    case Kind::bytes:
      return "bytes";
    case Kind::list:
      return "a list";
    case Kind::tuple:
      return "a tuple";
    case Kind::dict:
      return "a dict";
    case Kind::tensor:
      return "a tensor";
    case Kind::name:
      return "a name";
  }
  return "";
}

bool Value::boolean() const {
  return expect(std::get_if<bool>(&is_), *this, "a boolean");
}
int64_t Value::integer() const {
  return expect(std::get_if<int64_t>(&is_), *this, "an integer");
}
double Value::real() const {
  return expect(std::get_if<double>(&is_), *this, "a number");
}
std::string_view Value::text() const {
  if (const auto* known = holds<const Known*>(*this)) return (*known)->name;
  if (kind() == Kind::name) return "";  // half of an array, or a storage
  return expect(kind() == Kind::text ? holds<Blob>(*this) : nullptr, *this, "text").view;
}
std::string_view Value::bytes() const {
  const bool has = kind() == Kind::bytes || kind() == Kind::large;
  return expect(has ? holds<Blob>(*this) : nullptr, *this, "bytes").view;
}
const std::vector<Value>& Value::items() const {
  return expect(holds<std::vector<Value>>(*this), *this, "a list");
}
const std::vector<std::pair<Value, Value>>& Value::pairs() const {
  return expect(holds<PickleDict>(*this), *this, "a dict").pairs;
}
const PickledTensor& Value::tensor() const {
  return expect(holds<PickledTensor>(*this), *this, "a tensor");
}

const Value* Value::find(std::string_view key) const {
  const auto* dict = holds<PickleDict>(*this);
  if (dict == nullptr) return nullptr;
  for (const auto& [one, value] : dict->pairs)
    if (one.kind() == Kind::text && one.text() == key) return &value;
  return nullptr;
}

// --- tensors -------------------------------------------------------------------------------------

std::string_view PickledTensor::dtype() const {
  return layout_->dtype->name;
}
const std::vector<int64_t>& PickledTensor::shape() const {
  return layout_->shape;
}
uint64_t PickledTensor::bytes() const {
  return layout_->bytes;
}

at::Tensor PickledTensor::read(std::string name) const {
  const auto& is = *layout_;
  const uint64_t width = is.dtype->bits / 8;
  const bool straight = is.bytes == 0 || in_order(is.shape, is.strides);
  const uint64_t span = straight ? is.bytes / width : span_of(is);
  uint64_t begin = is.offset * width;
  const Storage* root = is.storage.get();
  for (; root->base != nullptr; root = root->base.get()) begin += root->base_offset;
  auto owner = std::make_shared<Blob>(root->blob);
  auto view = is.bytes == 0 ? std::string_view() : owner->view.substr(begin, span * width);
  if (owner->file) owner->file->data();  // is it still there?
  if (is.swapped && width > 1) {
    *owner = {{}, nullptr, swapped(view, *is.dtype)};
    view = *owner->own;
  }
  const auto file = root->blob.file ? root->blob.file->path().string() : "pickle";
  SafeTensors::Entry entry{
      std::move(name), std::string(is.dtype->name), is.shape, 0, span * width, ""};
  const auto* bytes = reinterpret_cast<const std::byte*>(view.data());
  if (straight) return tensor_on(file, entry, bytes, std::move(owner), /*copy=*/false);
  entry.shape = {static_cast<int64_t>(span)};
  return tensor_on(file, entry, bytes, std::move(owner), /*copy=*/false)
      .as_strided(is.shape, is.strides)
      .contiguous();
}

}  // namespace lact::io
