// Groups within one process: of itself alone, or of its threads.
#include <lact/dist/group.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include <condition_variable>
#include <functional>
#include <mutex>

namespace lact::dist {
namespace {

using at::Tensor;

struct Done final : Pending {
  void wait() override {}
};

/// Where the members lay what the others take.
class Board {
 public:
  explicit Board(int count) : laid_(static_cast<size_t>(count)) {}

  /// What `take` makes of all members' tensors; nobody changes his before all have taken.
  Tensor meet(int rank, const Tensor& mine,
              const std::function<Tensor(const std::vector<Tensor>&)>& take) {
    laid_[static_cast<size_t>(rank)] = mine;
    barrier();
    auto taken = take(laid_);
    barrier();
    return taken;
  }
  int size() const { return static_cast<int>(laid_.size()); }

 private:
  void barrier() {
    std::unique_lock lock(mutex_);
    const auto round = round_;
    if (++arrived_ == laid_.size()) {
      arrived_ = 0;
      ++round_;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return round_ != round; });
    }
  }

  std::vector<Tensor> laid_;
  std::mutex mutex_;
  std::condition_variable all_;
  size_t arrived_ = 0, round_ = 0;
};

class Local final : public Group {
 public:
  Local(std::shared_ptr<Board> board, int rank) : board_(std::move(board)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return board_->size(); }
  Work all_reduce(const Tensor& x, Op op) const override {
    return into(x, x, [&](const std::vector<Tensor>& all) {
      auto sum = all[0].clone();
      for (size_t r = 1; r < all.size(); ++r)
        sum = op == Op::sum   ? sum.add_(all[r])
              : op == Op::min ? at::minimum(sum, all[r])
                              : at::maximum(sum, all[r]);
      return sum;
    });
  }
  Work all_gather(const Tensor& out, const Tensor& in) const override {
    return into(out, in, [&](const std::vector<Tensor>& all) {
      auto gathered = out.clone();
      for (size_t r = 0; r < all.size(); ++r) gathered[static_cast<int64_t>(r)].copy_(all[r]);
      return gathered;
    });
  }
  Work all_to_all(const Tensor& out, const Tensor& in) const override {
    return into(out, in, [&](const std::vector<Tensor>& all) {
      auto mine = out.clone();
      for (size_t r = 0; r < all.size(); ++r) mine[static_cast<int64_t>(r)].copy_(all[r][rank_]);
      return mine;
    });
  }
  Work broadcast(const Tensor& x, int from) const override {
    return into(x, x, [&](const std::vector<Tensor>& all) {
      return all[static_cast<size_t>(from)].clone();
    });
  }

 private:
  Work into(const Tensor& out, const Tensor& in,
            const std::function<Tensor(const std::vector<Tensor>&)>& take) const {
    out.copy_(board_->meet(rank_, in, take));
    return std::make_unique<Done>();
  }

  std::shared_ptr<Board> board_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Group>> of_threads(int count) {
  const auto board = std::make_shared<Board>(count);
  std::vector<std::unique_ptr<Group>> groups;
  for (int rank = 0; rank < count; ++rank) groups.push_back(std::make_unique<Local>(board, rank));
  return groups;
}

std::unique_ptr<Group> alone() {
  return std::move(of_threads(1)[0]);
}

}  // namespace lact::dist
