#pragma once
// Films that tests make.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lact::test {

/// Frame n is of one shade of grey, 20 + 6 n.
void write_numbers(const std::filesystem::path& film, int frames, double rate, int64_t width = 32,
                   int64_t height = 32);
/// The number of a frame uint8 [H, W, 3] of write_numbers().
int number_of(const at::Tensor& frame);

/// Shots of so many frames each: pictures that drift to the right, each of its own.
void write_shots(const std::filesystem::path& film, const std::vector<int>& frames, double rate);
/// A frame of such a picture, 32 x 32 values of brightness, moved by x of 32.
std::vector<uint8_t> small_scene(int scene, double x, double light);

/// An AVI file with sound alone.
std::string sound_only();

}  // namespace lact::test
