#pragma once
// The names that a pickle may call, and what they make.

#include "pickle_node.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace lact::io {

/// One name of the list: a function or class that can be called, or a dtype or storage class that
/// stands for one.
struct Known {
  std::string name;  // "torch._utils._rebuild_tensor_v2"
  /// What calling it gives; null if it cannot be called. Errors: 65
  Value (*call)(Reading&, const std::vector<Value>& arguments) = nullptr;
  const Dtype* dtype = nullptr;
  bool storage = false;
};

/// The entry of MODULE.NAME.
/// Errors   65 naming it, if no checkpoint needs it
const Known& known(const Reading& reading, std::string_view module, std::string_view name);

/// What `object.__setstate__(state)` would do to what was made of a known name.
/// Errors   65
void build(Reading& reading, const Value& object, const Value& state);

/// A tensor on a storage.
/// Errors   65 if it is no tensor, or reaches beyond its storage
Value strided_tensor(Reading& reading, PickledTensor::Layout layout);

// What arguments are. Errors: 65 naming `what`
const std::vector<Value>& sequence(const Reading& reading, const Value& value, const char* what);
void expect_arguments(const Reading& reading, const std::vector<Value>& found, size_t least,
                      size_t most, const char* what);
uint64_t count_of(const Reading& reading, const Value& value, const char* what);  // from 0
std::vector<int64_t> sizes(const Reading& reading, const Value& value, const char* what);

/// The part of the list that is NumPy's.
std::vector<Known> numpy_names();
/// build() of a dtype or of an array without content; false of anything else.
bool build_numpy(Reading& reading, const Value& object, const Value& state);

}  // namespace lact::io
