#pragma once
// Gradients of all micro-batches of a step, added up over the processes of a run.

#include <lact/dist/group.hpp>
#include <lact/train/task.hpp>

#include <memory>
#include <vector>

namespace lact::train {

/// fast: as they come here, and over processes as the transport likes; the same bits each time with
/// the same number of processes. fixed: as a binary tree over micro-batches, whoever computes them:
/// the same bits for every power of two of processes. It keeps log2 of a process's micro-batches
/// more copies of the gradients, and sums after the backward pass.
enum class ReduceOrder { fast, fixed };

class GradientSum {
 public:
  static constexpr int64_t kBucketBytes = 25 << 20;  // part of the bits of `fast`

  GradientSum(ReduceOrder order, const dist::Group& group, std::vector<Parameter> parameters,
              int64_t bucket_bytes = kBucketBytes);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// The next backward pass is this process's last of the step: in `fast` order each bucket of
  /// gradients is summed over processes as soon as it is full.
  void begin_last();
  /// The backward pass of a micro-batch is done, or it had nothing to score.
  void micro_done();
  /// All of this process are. Gradients become the sum of all processes'; one that nobody has
  /// stays undefined in one process, and is zero in several and in a fixed order.
  /// Errors   PeerLost
  void finish();

 private:
  class Buckets;

  at::Tensor taken();  ///< flat, and no gradient is left

  ReduceOrder order_;
  const dist::Group& group_;
  std::vector<Parameter> parameters_;
  int64_t numbers_ = 0;
  std::vector<at::Tensor> levels_;    ///< of 2^i micro-batches each, as the bits of a counter
  std::unique_ptr<Buckets> buckets_;  ///< of several processes in `fast` order
};

}  // namespace lact::train
