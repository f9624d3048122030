#pragma once
// Pictures of handwritten digits as their collections store them.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lact::video {

struct Digit {
  int64_t label = 0;            ///< 0 to 9
  std::vector<uint8_t> pixels;  ///< size x size, rows from the top; 255: ink
};

struct DigitImages {
  int64_t size = 0;  ///< pixels of a side
  std::vector<Digit> digits;
};

/// IDX files of images and their labels, as those of MNIST: magic numbers 0x803 and 0x801, sizes
/// as 32 bits with the highest byte first, then bytes.
/// Errors   65 naming the file if it is malformed, or the two do not fit
DigitImages parse_idx(std::string_view images, const std::string& images_name,
                      std::string_view labels, const std::string& labels_name);
/// scikit-learn's digits.csv: 64 numbers from 0 to 16 and the label a line. Errors: 65 naming the
/// line
DigitImages parse_digits_csv(std::string_view text, const std::string& name);

/// Either kind, compressed by gzip or not: an IDX file of images with that of its labels beside it
/// ("images" and "idx3" in its name become "labels" and "idx1"), a CSV file, or a folder with
/// train-images-idx3-ubyte or digits.csv, with or without .gz.
/// Errors   65, 66
DigitImages read_digits(const std::filesystem::path& where);

/// Of each label a tenth, at least one, is kept apart: first those to train on. The same seed takes
/// the same ones. Errors: 65 if a label has a single picture
std::pair<DigitImages, DigitImages> split_digits(const DigitImages& all, uint64_t seed);

}  // namespace lact::video
