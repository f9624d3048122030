// A model's memory as tensors of a state file, and back.
#include "model.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>

namespace lact::video {
namespace {

using at::Tensor;
using Tensors = std::map<std::string, Tensor>;

/// A layer's tensors by name. In the published orientation: w0 is gate, w1 down, w2 up.
std::vector<std::pair<std::string, Tensor*>> fields(LayerMemory& memory) {
  std::vector<std::pair<std::string, Tensor*>> all;
  const auto add = [&](const std::string& name, ops::FastWeights& w) {
    all.insert(all.end(), {{name + "0", &w.gate}, {name + "1", &w.down}, {name + "2", &w.up}});
  };
  add("w", memory.fast.w);
  add("norm", memory.fast.norms);
  add("momentum", memory.fast.momentum);
  all.emplace_back("keys", &memory.keys);
  all.emplace_back("values", &memory.values);
  return all;
}

Tensor take(const Tensors& tensors, const std::string& name, at::ScalarType type,
            const std::vector<int64_t>& shape) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw Error(Exit::data, "state: tensor ", name, " is missing");
  const auto& x = found->second;
  bool fits = x.dim() == static_cast<int64_t>(shape.size()) && x.scalar_type() == type;
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || x.size(static_cast<int64_t>(i)) == shape[i];
  if (!fits)
    throw Error(Exit::data, "state: tensor ", name, ": expected ", at::IntArrayRef(shape), " of ",
                c10::toString(type), ", found ", x.sizes(), " of ", x.dtype().name());
  if (!x.isfinite().all().item<bool>())
    throw Error(Exit::data, "state: tensor ", name, ": holds something that is not a number");
  return x;
}

}  // namespace

Tensors to_tensors(const Memory& memory, const std::string& prefix) {
  Tensors all;
  for (size_t i = 0; i < memory.layers.size(); ++i) {
    auto layer = memory.layers[i];
    for (const auto& [name, x] : fields(layer))
      if (x->defined())
        all[concat(prefix, "layer.", i, ".", name)] = x->detach().to(at::kCPU).contiguous();
  }
  return all;
}

Memory memory_from(const Tensors& tensors, const std::string& prefix, const VideoModel& model,
                   int64_t chunks, int64_t batch) {
  const auto& c = model.config();
  auto memory = model.start(batch);
  memory.chunks = chunks;
  for (size_t i = 0; i < memory.layers.size(); ++i) {
    if (!c.has_fast(static_cast<int64_t>(i))) continue;
    auto& layer = memory.layers[i];
    const auto name_of = [&](const std::string& name) {
      return concat(prefix, "layer.", i, ".", name);
    };
    // What updates fill is there from the first one on.
    const auto first = name_of("momentum1");
    if (tensors.count(first) > 0) layer.fast.momentum = layer.fast.w;
    for (const auto& [name, x] : fields(layer))
      if (x->defined())
        *x = take(tensors, name_of(name), x->scalar_type(), x->sizes().vec()).to(model.device());
    layer.fast.main = layer.fast.w;
    if (chunks == 0) continue;
    const auto type = model.compute_dtype();
    const auto window = [&](const std::string& name) {
      return take(tensors, name_of(name), type, {batch, c.num_heads, -1, c.head_dim()})
          .to(model.device());
    };
    layer.keys = window("keys");
    layer.values = window("values");
    if (layer.keys.sizes() != layer.values.sizes())
      throw Error(Exit::data, "state: tensor ", name_of("values"), ": expected ",
                  layer.keys.sizes(), ", found ", layer.values.sizes());
  }
  return memory;
}

}  // namespace lact::video
