#pragma once
// How many threads decode: what one token computes is too little to share out.

#include <plugins/text/model/config.hpp>

#include <ATen/Parallel.h>

namespace lact::text {

/// Takes one thread while it lives, for token-by-token decoding of a model whose matrices one core
/// reads in less than a few meetings of threads take. Where other programs compute too, a thread
/// that waits for one without a core waits for milliseconds, dozens of times a token: preset tiny
/// on two busy cores wrote 3.5 tokens/s with two threads, 216 with one.
class DecodingThreads {
 public:
  explicit DecodingThreads(const Config& config) : before_(at::get_num_threads()) {
    constexpr int64_t kWorthSharing = 1024;  // width: matrices from 4 MB on
    if (before_ > 1 && config.hidden_size < kWorthSharing) at::set_num_threads(1);
  }
  ~DecodingThreads() {
    if (at::get_num_threads() != before_) at::set_num_threads(before_);
  }
  DecodingThreads(const DecodingThreads&) = delete;
  DecodingThreads& operator=(const DecodingThreads&) = delete;

 private:
  int before_;
};

}  // namespace lact::text
