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

class Engine {
 public:
  Engine(Schedule schedule, Rule rule, ScanOptions options);

  /// Called once. `record`: backward will follow.
  ScanOutput forward(const ScanInput& input, const OpenChunk& open, bool record);
  /// The outer loss's gradients by outputs (undefined: zero) to those by inputs. Called once: it
  /// uses up what was recorded. Errors: 70 at a second call.
  ScanInput backward(const ScanOutput& gradient);

 private:
  struct Record {
    Step step;
    FastState state;  // before it
    FastWeights w;    // read and learned with, in the products' type
    Kept kept;
    UpdateRecord update;
  };
  Kept make_kept(const Step& step) const;
  FastWeights narrowed(const FastWeights& w) const;
  FastState learn_span(const FastState& state, const FastWeights& w, const Tokens& chunk,
                       Record* record);
  void backward_update(Record& record, StateGradient& g, ScanInput& out);
  void backward_apply(Record& record, StateGradient& g, const at::Tensor& out_, ScanInput& out);

  Schedule schedule_;
  Rule rule_;
  ScanOptions options_;
  c10::ScalarType type_ = c10::ScalarType::Float;  // of products
  std::vector<int64_t> places_;                    // of applied steps in the output
  ScanInput input_;                                // as used: types and strides
  std::vector<c10::ScalarType> types_;             // of the fields as they came
  bool overlap_ = false;                           // some token is learned or read twice
  std::unique_ptr<Workshop> shop_;
  std::vector<Record> records_;
  bool recorded_ = false;
};

/// Tokens [begin, end), where negative numbers lie in the open chunk.
Tokens span(const OpenChunk& open, const Tokens& tokens, int64_t begin, int64_t end);

}  // namespace lact::ops
