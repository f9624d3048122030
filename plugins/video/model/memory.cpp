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

Memory memory_from(const io::State& state, const std::string& prefix, const VideoModel& model,
                   int64_t chunks, int64_t batch) {
  const auto& c = model.config();
  auto memory = model.start(batch);
  memory.chunks = chunks;
  for (size_t i = 0; i < memory.layers.size(); ++i) {
    if (!c.has_fast(static_cast<int64_t>(i))) continue;
    auto& layer = memory.layers[i];
    const auto take = [&](const std::string& name, at::IntArrayRef shape, at::ScalarType type) {
      return state.tensor(concat(prefix, "layer.", i, ".", name), shape, type).to(model.device());
    };
    // What updates fill is there from the first one on.
    if (state.tensors.count(concat(prefix, "layer.", i, ".momentum1")) > 0)
      layer.fast.momentum = layer.fast.w;
    for (const auto& [name, x] : fields(layer))
      if (x->defined()) *x = take(name, x->sizes(), x->scalar_type());
    layer.fast.main = layer.fast.w;
    if (chunks == 0) continue;
    const auto type = model.compute_dtype();
    layer.keys = take("keys", {batch, c.num_heads, -1, c.head_dim()}, type);
    layer.values = take("values", layer.keys.sizes(), type);
  }
  return memory;
}

}  // namespace lact::video
