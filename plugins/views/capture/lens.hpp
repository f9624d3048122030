#pragma once
// Lenses: from the numbers that cameras are given with to a pinhole, with the image along.

#include <plugins/common/media/image.hpp>
#include <plugins/views/camera/camera.hpp>

#include <limits>
#include <vector>

namespace lact::views {

/// What a camera file says of a lens, in pixels of images of the size that it names.
struct Lens {
  double width = 0, height = 0;     ///< 0: of the image at hand
  double fx = 0, fy = 0;            ///< 0: by the angles; fy alone: as fx
  double angle_x = 0, angle_y = 0;  ///< that the image spans, in radians
  /// NaN: the middle.
  double cx = std::numeric_limits<double>::quiet_NaN(), cy = cx;
  bool scales = true;  ///< the numbers follow the image where its size is another than stated
  /// OpenCV's model: k1 k2 p1 p2 [k3 [k4 k5 k6]]; of a fisheye k1 k2 k3 k4.
  std::vector<double> distortion;
  bool fisheye = false;
  /// Where the centre of the first pixel lies for cx and cy as they go into the undistortion.
  /// OpenCV wants 0. COLMAP's numbers have 0.5; so have those of transforms.json, but their
  /// official converter hands them on as they are, and its images are what models were trained on.
  double centre = 0.5;
};

/// The numbers for an image of this size, distortion left aside. The pose is the identity.
/// Errors   65 (without a file's name) if there are none
Camera pinhole(const Lens& lens, int64_t width, int64_t height);

/// Makes a pinhole's image of it, of the same size; the camera follows (not its pose).
/// Errors   65 (without a file's name) if the image is of another aspect than the lens, or the lens
///          sees more than a pinhole can
void undistort(const Lens& lens, media::Image& image, Camera& camera);

}  // namespace lact::views
