#pragma once
// Which way up an image is: the eight orientations of EXIF, and turning by them.

#include "image.hpp"

#include <string_view>

namespace lact::media {

/// As EXIF numbers them: how stored rows and columns are to be shown.
enum class Orientation {
  upright = 1,
  mirrored = 2,
  half_turn = 3,
  upside_down = 4,  ///< mirrored top to bottom
  transposed = 5,
  clockwise = 6,  ///< turn by 90 degrees clockwise to show it
  transverse = 7,
  counterclockwise = 8,
};

/// Width and height change places.
bool swaps_sides(Orientation how);

/// The image as it is to be shown.
Image turned(Image image, Orientation how);

/// What a block of EXIF says ("II*\0..." or "MM\0*...", with or without "Exif\0\0" before it);
/// upright if it says nothing or is damaged.
Orientation exif_orientation(std::string_view exif);

}  // namespace lact::media
