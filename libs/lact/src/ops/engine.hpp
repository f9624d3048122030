#pragma once
// A scan's forward and backward pass, without autograd.

#include "chunk.hpp"
#include "update.hpp"

#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

namespace lact::ops {

/// All tensors that a scan is differentiated by.
struct ScanInput {
  FastState state;
  at::Tensor q;
  Tokens tokens;
};

struct ScanOutput {
  at::Tensor out;  ///< undefined if no step applies
  FastState state;
};

/// Every tensor of one of these, in a fixed order; undefined ones too.
std::vector<at::Tensor*> fields(FastState& state);
std::vector<at::Tensor*> fields(ScanInput& input);

/// What all heads of a scan have in common.
struct Plan {
  Plan(Schedule schedule, Rule rule, ScanOptions options);
  Schedule schedule;
  Rule rule;
  ScanOptions options;
  std::vector<int64_t> places;                    ///< of each applied step in the output
  int64_t applied = 0;                            ///< tokens of the output
  int64_t longest = 0;                            ///< tokens of the longest step
  bool overlap = false;                           ///< some token is updated on or applied twice
  c10::ScalarType type = c10::ScalarType::Float;  ///< of products
};

/// A scan of some heads, which know nothing of the others.
class HeadScan {
 public:
  HeadScan(const Plan& plan, ScanInput input, int64_t cores);

  /// Weights in the products' type.
  FastWeights narrowed(const FastWeights& w) const;

  /// Writes out [heads, applied tokens, V]. saved: for each step, in keep mode; else empty.
  FastState forward(const OpenChunk& open, const at::Tensor& out,
                    std::vector<SavedActivations> saved, bool record);
  /// The tokens' sum that an update is made of.
  FastWeights delta(const Tokens& chunk, const FastWeights& w, const SavedActivations& saved) const;
  /// From the gradients by outputs (grad_out undefined: zero) to those by the state before,
  /// returned, and by tokens, written to `to`. Uses up what forward recorded.
  StateGradient backward(const at::Tensor& grad_out, StateGradient g, const ScanInput& to);

 private:
  struct Record {
    FastState state;  // before the step
    FastWeights w;    // for apply and update, in the products' type
    SavedActivations saved;
    UpdateRecord update;
  };
  FastState update_on(const FastState& state, const FastWeights& w, const Tokens& chunk,
                      const SavedActivations& saved, UpdateRecord* record) const;
  void apply_backward(const Step& step, const Record& record, StateGradient& g,
                      const at::Tensor& grad_out, const ScanInput& to) const;
  void update_backward(const Step& step, const Record& record, StateGradient& g,
                       const ScanInput& to) const;

  const Plan& plan_;
  ScanInput input_;
  TileBuffers buffers_;
  std::vector<Record> records_;
};

/// All heads: on a CPU with enough of them, every core runs whole heads from the first token to the
/// last and never waits for another.
class Engine {
 public:
  Engine(Schedule schedule, Rule rule, ScanOptions options);

  /// Called once. `record`: backward will follow.
  ScanOutput forward(const ScanInput& input, const OpenChunk& open, bool record);
  /// ops::delta, instead of forward.
  FastWeights delta(const FastWeights& w, const Tokens& chunk);
  /// The outer loss's gradients by outputs (undefined: zero) to those by inputs. Called once: it
  /// uses up what was recorded. Errors: 70 at a second call.
  ScanInput backward(const ScanOutput& gradient);

 private:
  ScanInput prepared(const ScanInput& input);
  /// How many heads run as one; and the processors of each such group.
  int64_t choose_groups();
  std::vector<SavedActivations> make_saved() const;
  template <class F>
  void for_groups(const F& f) const;

  Plan plan_;
  ScanInput input_;                     // as used: types and strides
  std::vector<c10::ScalarType> types_;  // of the fields as they came
  int64_t group_ = 1;                   // heads that run as one
  std::vector<std::unique_ptr<HeadScan>> scans_;
};

/// Errors   70 naming the argument that does not fit the others
void check(const FastWeights& w, const Tokens& chunk);

/// Tokens [begin, end), where negative numbers lie in the open chunk.
Tokens span(const OpenChunk& open, const Tokens& tokens, int64_t begin, int64_t end);

}  // namespace lact::ops
