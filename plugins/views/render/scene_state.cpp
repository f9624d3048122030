#include "scene_state.hpp"

#include <lact/error.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

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

/// A tensor of the state with the dtype and shape that it must have.
Tensor take(const io::State& state, const std::string& name, at::IntArrayRef shape,
            at::ScalarType type) {
  const auto& x = state.tensor(name);
  if (x.sizes() != shape || x.scalar_type() != type)
    throw Error(Exit::data, "state: tensor ", name, ": expected ", shape, " of ",
                c10::toString(type), ", found ", x.sizes(), " of ", x.dtype().name());
  return x;
}

int64_t whole(const json& values, const char* key, int64_t low, int64_t high) {
  const auto found = values.find(key);
  if (found == values.end() || !found->is_number_integer())
    throw Error(Exit::data, "state: scene: ", key, ": expected a whole number");
  const auto value = found->get<int64_t>();
  if (value < low || value > high)
    throw Error(Exit::data, "state: scene: ", key, ": cannot be ", value);
  return value;
}

std::vector<Camera> cameras_from(const Tensor& intrinsics, const Tensor& poses) {
  std::vector<Camera> cameras(static_cast<size_t>(poses.size(0)));
  const auto k = intrinsics.contiguous(), p = poses.contiguous();
  for (size_t i = 0; i < cameras.size(); ++i) {
    const double* one = k.data_ptr<double>() + 4 * i;
    cameras[i] = {one[0], one[1], one[2], one[3], {}};
    std::copy_n(p.data_ptr<double>() + 16 * i, 16, cameras[i].c2w.m.begin());
    const auto fault = fault_of_pose(cameras[i].c2w);
    if (!fault.empty() ||
        !(one[0] > 0 && one[1] > 0 && std::isfinite(one[0] + one[1] + one[2] + one[3])))
      throw Error(Exit::data, "state: camera ", i, ": ", fault.empty() ? "no pinhole" : fault);
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
      {"layers", scene.weights.size()}, {"world", scene.nerfstudio ? "nerfstudio" : "opencv"},
      {"files", scene.files},
  };
  state.metadata = {{"modality", "views"},
                    {"model", model_hash},
                    {"views", std::to_string(scene.cameras.size())},
                    {"scene", values.dump(-1, ' ', false, json::error_handler_t::replace)}};
  return state;
}

namespace {

SceneState parsed(const io::State& state, const ViewModel& model, const std::string& model_hash) {
  const auto found = state.metadata.find("modality");
  if (found == state.metadata.end() || found->second != "views")
    throw Error(Exit::data, "state: not a scene: its modality is ",
                found == state.metadata.end() ? "missing" : found->second);
  if (state.value("model") != model_hash)
    throw Error(Exit::data, "state: belongs to another model; give the --model that read it");
  const auto values = io::parse_json(state.value("scene"), "state: scene");
  SceneState scene;
  scene.width = whole(values, "width", 1, kLargestSide);
  scene.height = whole(values, "height", 1, kLargestSide);
  const auto world = values.find("world");
  scene.nerfstudio = world != values.end() && *world == "nerfstudio";
  const auto count = state.tensor("views.c2w").dim() == 3 ? state.tensor("views.c2w").size(0) : 0;
  scene.cameras = cameras_from(take(state, "views.intrinsics", {count, 4}, at::kDouble),
                               take(state, "views.c2w", {count, 4, 4}, at::kDouble));
  if (!values.contains("files") || !values["files"].is_array() ||
      values["files"].size() != scene.cameras.size())
    throw Error(Exit::data, "state: scene: files: expected ", count, " names");
  for (const auto& one : values["files"])
    scene.files.push_back(one.is_string() ? one.get<std::string>() : std::string());
  const auto frame = take(state, "pose.frame", {4, 4}, at::kDouble).contiguous();
  std::copy_n(frame.data_ptr<double>(), 16, scene.normal.frame.m.begin());
  scene.normal.scale = take(state, "pose.scale", {1}, at::kDouble).item<double>();
  if (!fault_of_pose(scene.normal.frame).empty() || !(scene.normal.scale > 0))
    throw Error(Exit::data, "state: pose.frame, pose.scale: not a frame");
  const auto start = model.start();
  for (size_t i = 0; i < start.size(); ++i) {
    const auto get = [&](const char* name, const Tensor& like) {
      const auto x = take(state, concat("layer.", i, ".", name),
                          {like.size(0), like.size(2), like.size(1)}, at::kFloat);
      if (!x.isfinite().all().item<bool>())
        throw Error(Exit::data, "state: tensor layer.", i, ".", name, ": not finite");
      return x.to(model.device()).mT();
    };
    scene.weights.push_back(
        {get("w0", start[i].gate), get("w2", start[i].up), get("w1", start[i].down)});
  }
  return scene;
}

}  // namespace

SceneState from_state(const io::State& state, const ViewModel& model, const std::string& model_hash,
                      const std::string& file) {
  try {
    return parsed(state, model, model_hash);
  } catch (const Error& error) {
    throw Error(error.code(), file, ": ", error.what());
  }
}

}  // namespace lact::views
