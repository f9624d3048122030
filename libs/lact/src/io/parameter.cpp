#include <lact/error.hpp>
#include <lact/io/parameter.hpp>

namespace lact::io {

at::Tensor parameter(const Checkpoint& checkpoint, const std::string& name,
                     const std::vector<int64_t>& shape, const std::string& stored) {
  const auto where = checkpoint.folder().string();
  const auto& key = stored.empty() ? name : stored;
  if (!checkpoint.contains(key)) throw Error(Exit::data, where, ": tensor ", name, " is missing");
  const auto tensor = checkpoint.tensor(key);
  if (tensor.sizes() != at::IntArrayRef(shape))
    throw Error(Exit::data, where, ": tensor ", name, ": expected ", at::IntArrayRef(shape),
                ", found ", tensor.sizes());
  if (!tensor.is_floating_point())
    throw Error(Exit::data, where, ": tensor ", name, ": expected a floating dtype, found ",
                tensor.dtype().name());
  return tensor;
}

}  // namespace lact::io
