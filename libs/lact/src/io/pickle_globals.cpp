#include "pickle_globals.hpp"

#include <lact/io/files.hpp>

#include "descriptor.hpp"
#include "safetensors_header.hpp"

#include <c10/core/ScalarType.h>

#include <map>

namespace lact::io {
namespace {

using Kind = Value::Kind;
using Values = std::vector<Value>;
using c10::ScalarType;

// --- Python --------------------------------------------------------------------------------------

/// OrderedDict(), OrderedDict([(key, value), ...]) as Python 2 has it, Counter({key: value}).
Value make_dict(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 0, 1, "a dict");
  auto made = make_node(reading, Kind::dict, PickleDict{});
  if (arguments.empty()) return made;
  if (arguments[0].kind() == Kind::dict) {
    for (const auto& [key, value] : arguments[0].pairs()) insert(reading, *made.node(), key, value);
    return made;
  }
  for (const auto& one : sequence(reading, arguments[0], "a dict")) {
    const auto& pair = sequence(reading, one, "an item of a dict");
    expect_arguments(reading, pair, 2, 2, "an item of a dict");
    insert(reading, *made.node(), pair[0], pair[1]);
  }
  return made;
}

/// bytes(): what protocol 2 has for empty bytes.
Value make_bytes(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 0, 0, "bytes");
  return make_blob(reading, Kind::bytes, {});
}

/// _codecs.encode(text, "latin1"): what protocol 2 has for bytes.
Value encode(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 2, 2, "_codecs.encode");
  if (arguments[0].kind() != Kind::text || arguments[1].kind() != Kind::text ||
      (arguments[1].text() != "latin1" && arguments[1].text() != "latin-1"))
    throw reading.fail("_codecs.encode: expected text and latin1");
  const auto text = arguments[0].text();
  reading.charge_data(text.size());
  auto bytes = std::make_shared<std::string>();
  bytes->reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      bytes->push_back(text[i]);
    } else if ((lead == 0xc2 || lead == 0xc3) && i + 1 < text.size()) {
      bytes->push_back(static_cast<char>(((lead & 3) << 6) | (text[++i] & 0x3f)));
    } else {
      throw reading.fail("_codecs.encode: a character that latin1 does not have");
    }
  }
  Blob blob{*bytes, nullptr, nullptr};
  blob.own = std::move(bytes);
  return make_blob(reading, Kind::bytes, std::move(blob));
}

// --- torch ---------------------------------------------------------------------------------------

Value size_of(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 1, 1, "torch.Size");
  return arguments[0];
}

/// torch.device("cuda", 0): its kind.
Value device(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 1, 2, "torch.device");
  return arguments[0];
}

Value rebuild(Reading& reading, const Values& arguments, const Dtype* dtype) {
  auto* storage = holds<std::shared_ptr<Storage>>(arguments[0]);
  if (storage == nullptr)
    throw reading.fail("a tensor: expected a storage, found ", arguments[0].word());
  PickledTensor::Layout layout;
  layout.storage = *storage;
  layout.dtype = dtype != nullptr ? dtype : (*storage)->dtype;
  layout.swapped = (*storage)->swapped;
  layout.offset = count_of(reading, arguments[1], "the offset of a tensor");
  layout.shape = sizes(reading, arguments[2], "the shape of a tensor");
  layout.strides = sizes(reading, arguments[3], "the strides of a tensor");
  return strided_tensor(reading, std::move(layout));
}

/// (storage, offset, size, stride); v2: requires_grad, hooks, and perhaps metadata.
Value rebuild_tensor(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 4, 7, "torch._utils._rebuild_tensor");
  return rebuild(reading, arguments, nullptr);
}

/// As v2, with a dtype behind the hooks: of float8 and other types that no storage class has.
Value rebuild_tensor_v3(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 7, 8, "torch._utils._rebuild_tensor_v3");
  const auto* dtype = holds<const Known*>(arguments[6]);
  if (dtype == nullptr || (*dtype)->storage || (*dtype)->dtype == nullptr)
    throw reading.fail("a tensor: expected a dtype, found ", arguments[6].word());
  return rebuild(reading, arguments, (*dtype)->dtype);
}

/// (tensor, requires_grad, hooks), and perhaps a dict of attributes.
Value rebuild_parameter(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 3, 4, "torch._utils._rebuild_parameter");
  if (arguments[0].kind() != Kind::tensor)
    throw reading.fail("a parameter: expected a tensor, found ", arguments[0].word());
  return arguments[0];
}

/// (function, class, its arguments, attributes): a tensor with attributes, which are left out.
Value rebuild_from_type(Reading& reading, const Values& arguments) {
  expect_arguments(reading, arguments, 4, 4, "torch._tensor._rebuild_from_type_v2");
  const auto* function = holds<const Known*>(arguments[0]);
  for (const auto call : {rebuild_tensor, rebuild_tensor_v3, rebuild_parameter})
    if (function != nullptr && (*function)->call == call)
      return call(reading, sequence(reading, arguments[2], "a tensor"));
  throw reading.fail("a tensor: expected what makes one, found ", arguments[0].word());
}

// --- the list ------------------------------------------------------------------------------------

std::map<std::string, Known, std::less<>> make_list() {
  std::vector<Known> all = {
      {"collections.OrderedDict", make_dict},
      {"collections.Counter", make_dict},
      {"_codecs.encode", encode},
      {"__builtin__.bytes", make_bytes},
      {"builtins.bytes", make_bytes},
      {"torch.Size", size_of},
      {"torch.device", device},
      {"torch._utils._rebuild_tensor", rebuild_tensor},
      {"torch._utils._rebuild_tensor_v2", rebuild_tensor},
      {"torch._utils._rebuild_tensor_v3", rebuild_tensor_v3},
      {"torch._tensor._rebuild_from_type_v2", rebuild_from_type},
      {"torch.Tensor"},
      {"torch.nn.parameter.Parameter"},
      {"torch._utils._rebuild_parameter", rebuild_parameter},
      {"torch._utils._rebuild_parameter_with_state", rebuild_parameter},
  };
  const auto numpy = numpy_names();
  all.insert(all.end(), numpy.begin(), numpy.end());
  const auto storage = [](std::string name, ScalarType type) {
    return Known{std::move(name), nullptr, find_dtype(type), /*storage=*/true};
  };
  struct Class {
    const char *storage, *dtype;
    ScalarType type;
  };
  for (const auto& [name, dtype, type] :
       std::initializer_list<Class>{{"Double", "float64", ScalarType::Double},
                                    {"Float", "float32", ScalarType::Float},
                                    {"Half", "float16", ScalarType::Half},
                                    {"BFloat16", "bfloat16", ScalarType::BFloat16},
                                    {"Long", "int64", ScalarType::Long},
                                    {"Int", "int32", ScalarType::Int},
                                    {"Short", "int16", ScalarType::Short},
                                    {"Char", "int8", ScalarType::Char},
                                    {"Byte", "uint8", ScalarType::Byte},
                                    {"Bool", "bool", ScalarType::Bool},
                                    {"ComplexFloat", "complex64", ScalarType::ComplexFloat}}) {
    for (const char* module : {"torch.", "torch.cuda."})
      all.push_back(storage(concat(module, name, "Storage"), type));
    all.push_back({concat("torch.", dtype), nullptr, find_dtype(type)});
  }
  for (const char* name : {"torch.UntypedStorage", "torch.storage.UntypedStorage"})
    all.push_back(storage(name, ScalarType::Byte));
  for (const auto& [name, type] : std::initializer_list<std::pair<const char*, ScalarType>>{
           {"torch.uint16", ScalarType::UInt16},
           {"torch.uint32", ScalarType::UInt32},
           {"torch.uint64", ScalarType::UInt64},
           {"torch.float8_e4m3fn", ScalarType::Float8_e4m3fn},
           {"torch.float8_e5m2", ScalarType::Float8_e5m2},
           {"torch.float8_e4m3fnuz", ScalarType::Float8_e4m3fnuz},
           {"torch.float8_e5m2fnuz", ScalarType::Float8_e5m2fnuz},
           {"torch.float8_e8m0fnu", ScalarType::Float8_e8m0fnu}})
    all.push_back({name, nullptr, find_dtype(type)});
  std::map<std::string, Known, std::less<>> list;
  for (const auto& one : all) list.emplace(one.name, one);
  return list;
}

}  // namespace

const Values& sequence(const Reading& reading, const Value& value, const char* what) {
  if (value.kind() != Kind::tuple && value.kind() != Kind::list)
    throw reading.fail(what, ": expected a tuple, found ", value.word());
  return value.items();
}

void expect_arguments(const Reading& reading, const Values& found, size_t least, size_t most,
                      const char* name) {
  if (found.size() < least || found.size() > most)
    throw reading.fail(name, ": expected ", least, least < most ? " or more" : "",
                       " arguments, found ", found.size());
}

std::vector<int64_t> sizes(const Reading& reading, const Value& value, const char* what) {
  const auto& all = sequence(reading, value, what);
  if (all.size() > kMaxDimensions)
    throw reading.fail(what, ": more than ", kMaxDimensions, " dimensions");
  std::vector<int64_t> sizes;
  for (const auto& one : all) sizes.push_back(static_cast<int64_t>(count_of(reading, one, what)));
  return sizes;
}

uint64_t count_of(const Reading& reading, const Value& value, const char* what) {
  if (value.kind() != Kind::integer || value.integer() < 0)
    throw reading.fail(what, ": expected a whole number from 0, found ",
                       value.kind() == Kind::integer ? std::to_string(value.integer())
                                                     : std::string(value.word()));
  return static_cast<uint64_t>(value.integer());
}

const Known& known(const Reading& reading, std::string_view module, std::string_view name) {
  static const auto list = make_list();
  const auto whole = concat(module, ".", name);
  const auto found = list.find(whole);
  if (found == list.end())
    throw reading.fail(printable(whole), ": not something a checkpoint needs; refused");
  return found->second;
}

void build(Reading& reading, const Value& object, const Value& state) {
  auto* node = object.node();
  if (node != nullptr && node->placed)
    throw reading.fail("changes what is inside something else already; refused");
  if (object.kind() == Kind::dict) return;  // attributes of an OrderedDict
  if (build_numpy(reading, object, state)) return;
  throw reading.fail("gives ", object.word(), " a state, which no checkpoint needs; refused");
}

Value strided_tensor(Reading& reading, PickledTensor::Layout layout) {
  const auto bytes = bytes_of(*layout.dtype, layout.shape);
  if (!bytes) throw reading.fail("a tensor: the size of its shape overflows");
  if (layout.strides.size() != layout.shape.size())
    throw reading.fail("a tensor: ", layout.shape.size(), " dimensions, but ",
                       layout.strides.size(), " strides");
  layout.bytes = *bytes;
  uint64_t end = layout.offset + 1;  // of the last element; an offset is below 2^63
  bool fits = true;
  for (size_t i = 0; i < layout.shape.size() && *bytes > 0; ++i) {
    uint64_t reach = 0;
    fits = fits &&
           !__builtin_mul_overflow(static_cast<uint64_t>(layout.shape[i] - 1),
                                   static_cast<uint64_t>(layout.strides[i]), &reach) &&
           !__builtin_add_overflow(end, reach, &end);
  }
  const uint64_t has = layout.storage->bytes / (layout.dtype->bits / 8);
  if (*bytes > 0 && (!fits || end > has))
    throw reading.fail("a tensor reaches beyond its storage of ", layout.storage->bytes, " bytes");
  return make_tensor(reading, std::move(layout));
}

}  // namespace lact::io
