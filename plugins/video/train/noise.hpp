#pragma once
// Noise that is a function of a stream of random numbers, whatever the machine.

#include <lact/random.hpp>

#include <ATen/core/Tensor.h>

namespace lact::video {

/// N(0, 1) in float32 on the CPU, by Box and Muller.
at::Tensor normal_noise(Random random, at::IntArrayRef shape);

}  // namespace lact::video
