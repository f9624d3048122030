// What NumPy's names make: dtypes, arrays, scalars.
// Source: numpy/_core/src/multiarray: array_reduce, array_setstate, arraydescr_setstate.

#include <lact/io/files.hpp>

#include "pickle_globals.hpp"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace lact::io {
namespace {

using Kind = Value::Kind;
using Values = std::vector<Value>;
using c10::ScalarType;

/// "f4", "i8", "b1": a kind and a number of bytes. Null if LibTorch has no such type.
const Dtype* numpy_dtype(std::string_view code) {
  static const std::map<std::string_view, ScalarType> kTypes = {
      {"f2", ScalarType::Half},   {"f4", ScalarType::Float},  {"f8", ScalarType::Double},
      {"i1", ScalarType::Char},   {"i2", ScalarType::Short},  {"i4", ScalarType::Int},
      {"i8", ScalarType::Long},   {"u1", ScalarType::Byte},   {"u2", ScalarType::UInt16},
      {"u4", ScalarType::UInt32}, {"u8", ScalarType::UInt64}, {"c8", ScalarType::ComplexFloat},
      {"b1", ScalarType::Bool}};
  const auto found = kTypes.find(code);
  return found == kTypes.end() ? nullptr : find_dtype(found->second);
}

/// numpy.dtype("f4", align, copy).
Value make_numpy_type(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 1, 3, "numpy.dtype");
  const auto code = arguments[0].kind() == Kind::text ? arguments[0].text() : std::string_view();
  const auto* dtype = numpy_dtype(code);
  if (dtype == nullptr)
    throw reading.fail("numpy.dtype ", printable(code), ": no numbers that LibTorch knows");
  return make_node(reading, Kind::name, NumpyType{dtype});
}

/// An array on bytes. The order of its axes: last axis first if `fortran`.
Value make_array(Reading& reading, const Value& type, std::vector<int64_t> shape, bool fortran,
                 const Value& content) {
  const auto* numpy = holds<NumpyType>(type);
  if (numpy == nullptr) throw reading.fail("an array: expected a dtype, found ", type.word());
  // Python 2 has no bytes: its strings are.
  if (content.kind() != Kind::bytes && content.kind() != Kind::text)
    throw reading.fail("an array: expected bytes, found ", content.word());
  const auto& blob = *holds<Blob>(content);
  const auto bytes = bytes_of(*numpy->dtype, shape);
  if (!bytes || *bytes != blob.view.size())
    throw reading.fail("an array: expected ", bytes ? std::to_string(*bytes) : "fewer",
                       " bytes for its shape, found ", blob.view.size());
  reading.charge(sizeof(Storage));
  auto storage = std::make_shared<Storage>();
  storage->bytes = blob.view.size();
  storage->blob = blob;
  storage->filled = true;
  PickledTensor::Layout layout;
  layout.dtype = numpy->dtype;
  layout.swapped = numpy->swapped;
  layout.strides.resize(shape.size());
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t axis = fortran ? i : shape.size() - 1 - i;
    layout.strides[axis] = stride;
    stride *= std::max<int64_t>(shape[axis], 1);  // bytes_of has seen that it does not overflow
  }
  layout.shape = std::move(shape);
  layout.storage = std::move(storage);
  return strided_tensor(reading, std::move(layout));
}

/// array.transpose(axes).
Value turn(Reading& reading, const Value& array, const std::vector<int64_t>& axes) {
  const auto& from = array.tensor().layout();
  auto layout = from;
  auto all = axes;
  std::sort(all.begin(), all.end());
  std::vector<int64_t> each(from.shape.size());
  std::iota(each.begin(), each.end(), 0);
  if (all != each) throw reading.fail("an array: its axes are no order of ", each.size(), " axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i]);
    layout.shape[i] = from.shape[axis];
    layout.strides[i] = from.strides[axis];
  }
  return strided_tensor(reading, std::move(layout));
}

/// _reconstruct(ndarray, (0,), b"b"): an array that is told its content afterwards.
Value reconstruct(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 3, 3, "numpy._reconstruct");
  return make_node(reading, Kind::name, Unfinished{});
}

/// scalar(dtype, bytes).
Value make_scalar(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 2, 2, "numpy.scalar");
  return make_array(reading, arguments[0], {}, false, arguments[1]);
}

/// _frombuffer(bytes, dtype, shape, order): protocol 5. Order "C", "F", or "K" and the axes in
/// which an array of order C is to be read.
Value from_buffer(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 4, 5, "numpy._frombuffer");
  const auto order = arguments[3].kind() == Kind::text ? arguments[3].text() : std::string_view();
  const bool turned = order == "K" && arguments.size() == 5;
  if (order != "C" && order != "F" && !turned)
    throw reading.fail("an array: expected order C, F or K, found ", printable(order));
  const auto made =
      make_array(reading, arguments[1], sizes(reading, arguments[2], "the shape of an array"),
                 order == "F", arguments[0]);
  return turned ? turn(reading, made, sizes(reading, arguments[4], "the axes of an array")) : made;
}

/// (version, shape, dtype, fortran, bytes).
void fill_array(Reading& reading, Value::Node& array, const Value& state) {
  const auto& is = sequence(reading, state, "an array's state");
  expect_arguments(reading, is, 5, 5, "an array's state");
  if (is[3].kind() != Kind::boolean && is[3].kind() != Kind::integer)
    throw reading.fail("an array's order: expected a boolean, found ", is[3].word());
  const bool fortran = is[3].kind() == Kind::boolean ? is[3].boolean() : is[3].integer() != 0;
  const auto made =
      make_array(reading, is[2], sizes(reading, is[1], "the shape of an array"), fortran, is[4]);
  array.kind = Kind::tensor;
  array.content = made.node()->content;
}

/// (version, byte order, ...); the rest is about fields, which we refuse by their kind.
void fill_numpy_type(const Reading& reading, NumpyType& type, const Value& state) {
  const auto& is = sequence(reading, state, "a dtype's state");
  const auto order =
      is.size() > 1 && is[1].kind() == Kind::text ? is[1].text() : std::string_view();
  if (order != "<" && order != ">" && order != "|" && order != "=")
    throw reading.fail("a dtype: expected an order of bytes, found ", printable(order));
  type.swapped = order == ">";
}

}  // namespace

std::vector<Known> numpy_names() {
  std::vector<Known> names = {{"numpy.ndarray"}, {"numpy.dtype", make_numpy_type}};
  for (const char* core : {"numpy.core.", "numpy._core."}) {
    names.push_back({concat(core, "multiarray._reconstruct"), reconstruct});
    names.push_back({concat(core, "multiarray.scalar"), make_scalar});
    names.push_back({concat(core, "numeric._frombuffer"), from_buffer});
  }
  return names;
}

bool build_numpy(Reading& reading, const Value& object, const Value& state) {
  if (auto* type = holds<NumpyType>(object)) {
    fill_numpy_type(reading, *type, state);
    return true;
  }
  if (holds<Unfinished>(object) == nullptr) return false;
  fill_array(reading, *object.node(), state);
  return true;
}

}  // namespace lact::io
