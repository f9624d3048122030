#include <lact/nn/rows.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>

namespace lact::nn {

using at::Tensor;

Rows whole_rows(int64_t batch, int64_t length, at::Device device) {
  return {batch, length, at::arange(length, at::TensorOptions(at::kLong).device(device)),
          {},    {{}},   {}};
}

Rows cut_rows(const Tensor& documents, int64_t chunk, bool fast_weights, at::Device device) {
  const auto numbers = documents.to(at::kCPU).contiguous();
  const int64_t batch = numbers.size(0), length = numbers.size(1);
  const auto* number = numbers.const_data_ptr<int64_t>();

  struct Segment {
    int64_t begin, length;
  };
  std::map<int64_t, std::vector<Segment>> by_chunks;
  const auto positions = at::empty({batch, length}, numbers.options());
  auto* position = positions.mutable_data_ptr<int64_t>();
  bool cut = false;
  for (int64_t row = 0; row < batch; ++row) {
    for (int64_t begin = 0; begin < length;) {
      int64_t end = begin;
      const int64_t place = row * length;
      for (; end < length && number[place + end] == number[place + begin]; ++end)
        position[place + end] = end - begin;
      cut = cut || begin > 0;
      by_chunks[(end - begin + chunk - 1) / chunk].push_back({place + begin, end - begin});
      begin = end;
    }
  }
  if (!cut) return whole_rows(batch, length, device);

  Rows rows{batch, length, positions.to(device), documents.to(device), {}, {}};
  if (!fast_weights) {
    rows.groups.emplace_back();
    return rows;
  }
  const auto inverse = at::empty({batch * length}, numbers.options());
  auto* where = inverse.mutable_data_ptr<int64_t>();
  int64_t before = 0;
  for (const auto& [chunks, segments] : by_chunks) {
    int64_t longest = 0;
    for (const auto& segment : segments) longest = std::max(longest, segment.length);
    const auto index =
        at::empty({static_cast<int64_t>(segments.size()), longest}, numbers.options());
    auto* from = index.mutable_data_ptr<int64_t>();
    for (const auto& segment : segments) {
      for (int64_t i = 0; i < longest; ++i) {
        const int64_t token = segment.begin + std::min(i, segment.length - 1);
        *from++ = token;
        if (i < segment.length) where[token] = before + i;
      }
      before += longest;
    }
    rows.groups.push_back({index.to(device)});
  }
  rows.inverse = inverse.to(device);
  return rows;
}

}  // namespace lact::nn
