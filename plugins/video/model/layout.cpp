#include "layout.hpp"

#include "rotation.hpp"

#include <lact/error.hpp>

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace lact::video {

using at::Tensor;

std::vector<Entry> make_plan(int64_t chunks, int64_t repeats) {
  std::vector<Entry> plan;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    plan.insert(plan.end(), static_cast<size_t>(repeats), Entry{chunk, false});
    if (chunk + 1 < chunks) plan.push_back({chunk, true});
  }
  return plan;
}

Tensor plan_frames(const std::vector<Entry>& plan, int64_t frames) {
  std::vector<int64_t> all;
  for (const auto& entry : plan)
    for (int64_t i = 0; i < frames; ++i) all.push_back(entry.chunk * frames + i);
  return at::tensor(all, at::kLong);
}

Tensor own_latents(const std::array<int64_t, 3>& patch, int64_t frames, int64_t h, int64_t w,
                   int64_t rank, int64_t size) {
  const auto& [p, q, r] = patch;
  const int64_t f = frames / p, rows = h / q, columns = w / r, tokens = f * rows * columns;
  const auto own = at::zeros({tokens}, at::kBool);
  own.slice(0, tokens * rank / size, tokens * (rank + 1) / size).fill_(true);
  return own.view({f, 1, rows, 1, columns, 1})
      .expand({f, p, rows, q, columns, r})
      .reshape({frames, h, w});
}

Tensor window_mask(const std::vector<Entry>& plan, int64_t tokens, int64_t kv) {
  const auto size = static_cast<int64_t>(plan.size()) * tokens;
  const auto mask = at::zeros({size, size}, at::kBool);
  for (size_t i = 0; i < plan.size(); ++i) {
    const auto begin = static_cast<int64_t>(i) * tokens;
    const auto rows = mask.slice(0, begin, begin + tokens);
    rows.slice(1, begin, begin + tokens).fill_(true);
    if (plan[i].clean || plan[i].chunk == 0) continue;
    const auto before = std::find(plan.begin(), plan.end(), Entry{plan[i].chunk - 1, true});
    const int64_t end = (before - plan.begin() + 1) * tokens;
    rows.slice(1, end - std::min(kv, tokens), end).fill_(true);
  }
  return mask;
}

Tensor rotary_angles(int64_t head_dim, const Tensor& frames, int64_t h, int64_t w) {
  const auto options = frames.options().dtype(at::kDouble);
  const int64_t side = 2 * (head_dim / 6), f = frames.size(0);
  const auto axis = [&](const Tensor& positions, int64_t width) {
    const auto exponent = at::arange(0, width, 2, options) / static_cast<double>(width);
    return positions.to(at::kDouble).unsqueeze(1) * at::pow(10000.0, exponent).reciprocal();
  };
  const auto time = axis(frames, head_dim - 2 * side).view({f, 1, 1, -1}),
             rows = axis(at::arange(h, options), side).view({1, h, 1, -1}),
             columns = axis(at::arange(w, options), side).view({1, 1, w, -1});
  return at::cat({time.expand({f, h, w, -1}), rows.expand({f, h, w, -1}),
                  columns.expand({f, h, w, -1})},
                 -1)
      .reshape({f * h * w, head_dim / 2});
}

Rotary3d rotary_3d(int64_t head_dim, const Tensor& frames, int64_t h, int64_t w) {
  const auto angles = rotary_angles(head_dim, frames, h, w);
  return {angles.cos(), angles.sin()};
}

nn::Rotary turns(const Rotary3d& table, at::ScalarType type, at::Device device) {
  const auto exact = at::toOpMathType(type);
  return {table.cos.to(exact).to(device), table.sin.to(exact).to(device), /*pairs=*/true};
}

Tensor rotate_pairs(const Tensor& x, const Rotary3d& table) {
  const int64_t length = table.cos.size(0);
  if (x.dim() != 4 || x.size(3) != 2 * table.cos.size(1) || x.size(1) < length)
    throw Error(Exit::internal, "rotate_pairs: ", x.sizes(), " does not fit a table of ",
                table.cos.sizes());
  const auto turned = nn::rotate(x.slice(1, 0, length), turns(table, x.scalar_type(), x.device()));
  return length == x.size(1) ? turned : at::cat({turned, x.slice(1, length)}, 1);
}

}  // namespace lact::video
