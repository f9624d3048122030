#include <lact/nn/key_window.hpp>

#include <ATen/ops/empty.h>

#include <algorithm>

namespace lact::nn {

void KeyWindow::append(const at::Tensor& k, const at::Tensor& v, std::optional<int64_t> window) {
  const int64_t more = k.size(2);
  if (!keys_.defined() || end_ + more > keys_.size(2)) {
    // Room for as much again: a shift every `spare` tokens costs each of them a constant.
    constexpr int64_t kLeast = 256;
    const int64_t held = size(), spare = std::max(window ? *window : held, kLeast);
    const auto fresh = [&](const at::Tensor& old, const at::Tensor& like) {
      auto sizes = like.sizes().vec();
      sizes[2] = held + std::max(more, spare);
      const auto buffer = at::empty(sizes, like.options());
      if (held > 0) buffer.slice(2, 0, held).copy_(old.slice(2, begin_, end_));
      return buffer;
    };
    keys_ = fresh(keys_, k);
    values_ = fresh(values_, v);
    begin_ = 0;
    end_ = held;
  }
  keys_.slice(2, end_, end_ + more).copy_(k);
  values_.slice(2, end_, end_ + more).copy_(v);
  end_ += more;
}

void KeyWindow::trim(std::optional<int64_t> window) {
  if (window) begin_ = std::max(begin_, end_ - (*window - 1));
  // A long prompt's buffer is not kept.
  if (window && keys_.size(2) > 4 * std::max<int64_t>(*window, 256)) {
    keys_ = keys().clone();
    values_ = values().clone();
    end_ = size();
    begin_ = 0;
  }
}

}  // namespace lact::nn
