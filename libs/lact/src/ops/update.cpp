#include "update.hpp"

#include "kernels.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros_like.h>

namespace lact::ops {
namespace {

using at::Tensor;
using Member = Tensor FastWeights::*;

/// The matrices that a transform sees: gate and up as one where they are stacked.
std::vector<Tensor> stack(std::vector<Tensor> matrices, const Rule& rule) {
  if (!rule.stacked || matrices.size() < 3) return matrices;
  return {at::cat({matrices[0], matrices[1]}, 1), matrices[2]};
}

std::vector<Tensor> unstack(std::vector<Tensor> matrices, const Rule& rule, size_t count) {
  if (!rule.stacked || count < 3) return matrices;
  const auto both = matrices[0].chunk(2, 1);
  return {both[0].contiguous(), both[1].contiguous(), matrices[1]};
}

void add(Tensor& sum, const Tensor& x) {
  sum = sum.defined() ? sum + x : x;
}

}  // namespace

std::vector<Member> learning(const FastWeights& w, const Rule& rule) {
  if (w.linear() || rule.learn == Learn::last) return {&FastWeights::down};
  return {&FastWeights::gate, &FastWeights::up, &FastWeights::down};
}

FastState update(const FastState& state, const FastWeights& delta, const Tensor& beta,
                 const Rule& rule, UpdateRecord* record, bool keep) {
  FastState next = state;
  const auto members = learning(state.w, rule);
  std::vector<Tensor> moves;
  for (const auto which : members) {
    if (rule.momentum)
      next.momentum.*which = at::addcmul(delta.*which, state.momentum.*which, beta);
    moves.push_back(rule.momentum ? next.momentum.*which : delta.*which);
  }
  if (record != nullptr) {
    record->momentum = state.momentum;
    record->beta = beta;
  }
  if (rule.transform != nullptr) {
    const auto sums = stack(moves, rule);
    moves = rule.transform->forward(sums, rule, keep ? &record->saved : nullptr);
    moves = unstack(moves, rule, members.size());
    if (record != nullptr) record->sums = sums;
  }
  for (size_t i = 0; i < members.size(); ++i) {
    const auto which = members[i];
    const Tensor& base = rule.prenorm ? state.main.*which : state.w.*which;
    Tensor raw;
    if (!rule.weight_norm) {
      raw = next.w.*which = base + moves[i];
    } else {
      if (rule.prenorm || record != nullptr) raw = at::empty_like(base);
      next.w.*which = at::empty_like(base);
      kernels::rescale(base, moves[i], state.norms.*which, rule.norm_epsilon, rule.epsilon_inside,
                       raw, next.w.*which);
    }
    next.main.*which = rule.prenorm ? raw : next.w.*which;
    if (record != nullptr) record->raw.*which = raw;
  }
  return next;
}

FastWeights update_backward(StateGradient& g, const FastState& before, const Rule& rule,
                            const UpdateRecord& record, Tensor& grad_beta) {
  const auto members = learning(before.w, rule);
  std::vector<Tensor> moves;  // gradients by what was added
  for (const auto which : members) {
    Tensor& grad_w = g.w.*which;
    if (!grad_w.defined()) grad_w = at::zeros_like(before.w.*which);
    if (rule.weight_norm) {
      Tensor& grad_norm = g.norms.*which;
      if (!grad_norm.defined()) grad_norm = at::zeros_like(before.norms.*which);
      kernels::rescale_backward(record.raw.*which, before.norms.*which, rule.norm_epsilon,
                                rule.epsilon_inside, grad_w, grad_norm);
    }
    if (rule.prenorm) {
      add(g.main.*which, grad_w);
      moves.push_back(g.main.*which);
      grad_w = Tensor();  // the reading weights before the update take part in its delta only
    } else {
      moves.push_back(grad_w);
    }
  }
  if (rule.transform != nullptr) {
    auto saved = record.saved;
    if (saved.empty()) rule.transform->forward(record.sums, rule, &saved);
    moves =
        unstack(rule.transform->backward(stack(moves, rule), saved, rule), rule, members.size());
  }
  FastWeights grad_delta;
  grad_beta = Tensor();
  for (size_t i = 0; i < members.size(); ++i) {
    const auto which = members[i];
    Tensor& grad_buffer = g.momentum.*which;
    if (rule.momentum && grad_buffer.defined())
      grad_delta.*which = grad_buffer + moves[i];
    else  // g.w is going to be added to while this is read
      grad_delta.*which = moves[i].is_same(g.w.*which) ? moves[i].clone() : moves[i];
    if (!rule.momentum) continue;
    add(grad_beta, (grad_delta.*which * record.momentum.*which).sum({1, 2}, /*keepdim=*/true));
    grad_buffer = grad_delta.*which * record.beta;
  }
  return grad_delta;
}

}  // namespace lact::ops
