#include <lact/dist/group.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>

namespace lact::dist {

using at::Tensor;

Pending::~Pending() = default;
Group::~Group() = default;

void Group::sum_in_order(const Tensor& x) const {
  const int64_t n = size(), part = (x.numel() + n - 1) / n;
  const auto flat = x.view(-1);
  Tensor mine = at::zeros({n, part}, x.options());
  mine.view(-1).narrow(0, 0, x.numel()).copy_(flat);
  Tensor parts = at::empty_like(mine);
  all_to_all(parts, mine)->wait();
  for (int64_t stride = 1; stride < n; stride *= 2)
    for (int64_t rank = 0; rank + stride < n; rank += 2 * stride)
      parts[rank].add_(parts[rank + stride]);
  all_gather(mine, parts[0])->wait();
  flat.copy_(mine.view(-1).narrow(0, 0, x.numel()));
}

void Group::sum(const std::vector<Tensor>& parts) const {
  const at::NoGradGuard no_grad;
  int64_t numbers = 0;
  for (const auto& part : parts) numbers += part.numel();
  const Tensor flat = at::empty({numbers}, parts.at(0).options().device(at::kCPU));
  const auto each = [&](const auto& visit) {
    int64_t place = 0;
    for (const auto& part : parts) {
      visit(part, flat.narrow(0, place, part.numel()).view(part.sizes()));
      place += part.numel();
    }
  };
  each([](const Tensor& part, const Tensor& here) { here.copy_(part); });
  all_reduce(flat)->wait();
  each([](const Tensor& part, const Tensor& here) { part.copy_(here); });
}

std::vector<std::vector<double>> Group::gather(const std::vector<double>& values) const {
  const auto count = static_cast<int64_t>(values.size());
  Tensor in = at::empty({count}, at::kDouble), out = at::empty({size(), count}, at::kDouble);
  std::copy(values.begin(), values.end(), in.mutable_data_ptr<double>());
  all_gather(out, in)->wait();
  std::vector<std::vector<double>> all;
  for (int64_t r = 0; r < size(); ++r) {
    const double* row = out.const_data_ptr<double>() + r * count;
    all.emplace_back(row, row + count);
  }
  return all;
}

std::vector<std::string> Group::gather(const std::string& bytes) const {
  size_t longest = 0;
  const auto sizes = gather(std::vector<double>{static_cast<double>(bytes.size())});
  for (const auto& one : sizes) longest = std::max(longest, static_cast<size_t>(one[0]));
  Tensor in = at::zeros({static_cast<int64_t>(longest)}, at::kByte),
         out = at::empty({size(), static_cast<int64_t>(longest)}, at::kByte);
  if (!bytes.empty()) std::memcpy(in.mutable_data_ptr(), bytes.data(), bytes.size());
  if (longest > 0) all_gather(out, in)->wait();
  std::vector<std::string> all;
  for (int64_t r = 0; r < size(); ++r)
    all.emplace_back(static_cast<const char*>(out.const_data_ptr()) + r * longest,
                     static_cast<size_t>(sizes[static_cast<size_t>(r)][0]));
  return all;
}

}  // namespace lact::dist
