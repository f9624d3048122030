#include "scene_state.hpp"

#include <plugins/views/camera/world.hpp>

#include <lact/error.hpp>
#include <lact/io/json.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace lact::views {
namespace {

using at::Tensor;
using nlohmann::json;

constexpr int64_t kLargestSide = 1 << 16;

Tensor matrix_tensor(const Matrix& m) {
  const auto out = at::empty({4, 4}, at::kDouble);
  std::copy(m.m.begin(), m.m.end(), out.data_ptr<double>());
  return out;
}

std::vector<Camera> cameras_from(const io::State& state, int64_t count) {
  std::vector<Camera> cameras(static_cast<size_t>(count));
  const auto k = state.tensor("views.intrinsics", {count, 4}, at::kDouble).contiguous();
  const auto p = state.tensor("views.c2w", {count, 4, 4}, at::kDouble).contiguous();
  for (size_t i = 0; i < cameras.size(); ++i) {
    const double* one = k.const_data_ptr<double>() + 4 * i;
    cameras[i] = {one[0], one[1], one[2], one[3], {}};
    std::copy_n(p.const_data_ptr<double>() + 16 * i, 16, cameras[i].c2w.m.begin());
    const auto fault = fault_of_pose(cameras[i].c2w);
    if (!fault.empty() || !(one[0] > 0 && one[1] > 0))
      throw Error(Exit::data, state.name, ": camera ", i, ": ",
                  fault.empty() ? "not a pinhole" : fault);
  }
  return cameras;
}

}  // namespace

io::State to_state(const SceneState& scene, const std::string& model_hash) {
  io::State state;
  for (size_t i = 0; i < scene.weights.size(); ++i) {
    const auto put = [&](const char* name, const Tensor& turned) {
      state.tensors[concat("layer.", i, ".", name)] =
          turned.mT().detach().to(at::kCPU, at::kFloat).contiguous();
    };
    put("w0", scene.weights[i].gate);
    put("w1", scene.weights[i].down);
    put("w2", scene.weights[i].up);
  }
  const auto views = posed(scene.cameras, at::kDouble);
  state.tensors["views.intrinsics"] = views.intrinsics;
  state.tensors["views.c2w"] = views.poses;
  state.tensors["pose.frame"] = matrix_tensor(scene.normal.frame);
  state.tensors["pose.scale"] = at::tensor(std::vector<double>{scene.normal.scale}, at::kDouble);
  const nlohmann::ordered_json values = {
      {"width", scene.width},           {"height", scene.height},
      {"layers", scene.weights.size()}, {"world", world_json(scene.world)},
      {"files", scene.files},
  };
  state.metadata = {{"scene", values.dump(-1, ' ', false, json::error_handler_t::replace)}};
  state.set_owner("views", model_hash);
  state.set_count("views", static_cast<int64_t>(scene.cameras.size()));
  return state;
}

SceneState from_state(const io::State& state, const ViewModel& model,
                      const std::string& model_hash) {
  state.check_owner("views", model_hash);
  const auto parsed = io::parse_json(state.value("scene"), state.name + ": scene");
  io::JsonObject values(parsed, state.name + ": scene");
  SceneState scene;
  scene.width = values.whole("width", 1, kLargestSide);
  scene.height = values.whole("height", 1, kLargestSide);
  if (const auto* world = values.find("world"))
    scene.world = world_of(*world, state.name + ": scene: world");
  const auto* files = values.find("files");
  if (files == nullptr || !files->is_array()) values.refuse("files", "a list of names");
  for (const auto& one : *files)
    scene.files.push_back(one.is_string() ? one.get<std::string>() : std::string());
  scene.cameras = cameras_from(state, static_cast<int64_t>(scene.files.size()));
  const auto frame = state.tensor("pose.frame", {4, 4}, at::kDouble).contiguous();
  std::copy_n(frame.const_data_ptr<double>(), 16, scene.normal.frame.m.begin());
  scene.normal.scale = state.tensor("pose.scale", {1}, at::kDouble).item<double>();
  if (!fault_of_pose(scene.normal.frame).empty() || !(scene.normal.scale > 0))
    throw Error(Exit::data, state.name, ": pose.frame, pose.scale: not a frame");
  const auto start = model.start();
  for (size_t i = 0; i < start.size(); ++i) {
    const auto get = [&](const char* name, const Tensor& like) {
      return state
          .tensor(concat("layer.", i, ".", name), {like.size(0), like.size(2), like.size(1)},
                  at::kFloat)
          .to(model.device())
          .mT();
    };
    scene.weights.push_back(
        {get("w0", start[i].gate), get("w2", start[i].up), get("w1", start[i].down)});
  }
  return scene;
}

}  // namespace lact::views
