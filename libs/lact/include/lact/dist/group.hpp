#pragma once
// Processes that compute one thing together: what each has, summed, gathered, exchanged.

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace lact::dist {

/// A peer is gone, or was silent for the time-out (75). Nothing goes on after it.
class PeerLost : public Error {
 public:
  explicit PeerLost(const std::string& what) : Error(Exit::stopped, what) {}
};

/// A collective under way, which holds its tensors.
class Pending {
 public:
  virtual ~Pending();
  /// Errors   PeerLost
  virtual void wait() = 0;
};
using Work = std::unique_ptr<Pending>;

enum class Op { sum, min, max };

/// All members make the same calls in the same order, each from one thread. Tensors are contiguous.
class Group : public io::Writers {
 public:
  ~Group() override;
  /// In place, in an order of additions that the transport chooses.
  virtual Work all_reduce(const at::Tensor& x, Op op = Op::sum) const = 0;
  /// in [...] of each rank -> out [size, ...]
  virtual Work all_gather(const at::Tensor& out, const at::Tensor& in) const = 0;
  /// in [size, ...]: part r goes to rank r -> out [size, ...]: part r came from rank r.
  virtual Work all_to_all(const at::Tensor& out, const at::Tensor& in) const = 0;
  virtual Work broadcast(const at::Tensor& x, int from) const = 0;

  /// The sum of all, in place, added up as a binary tree over ranks: the same bits whatever the
  /// transport, and for powers of two whatever their number, where each rank's part is such a tree.
  void sum_in_order(const at::Tensor& x) const;
  /// Each tensor's sum over all, in place, by one call. On any device, all of one floating dtype.
  void sum(const std::vector<at::Tensor>& parts) const;
  /// Of each rank.
  std::vector<std::vector<double>> gather(const std::vector<double>& values) const;
  std::vector<std::string> gather(const std::string& bytes) const override;
};

/// A group of one.
std::unique_ptr<Group> alone();
/// Groups whose members are threads of this process: how many processes are tested in one.
std::vector<std::unique_ptr<Group>> of_threads(int count);

}  // namespace lact::dist
