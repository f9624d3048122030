#include "lens.hpp"

#include <lact/error.hpp>

#include <opencv2/calib3d.hpp>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>

namespace lact::views {
namespace {

/// Sides of images that were made smaller are rounded: that much they may be off.
constexpr double kRounding = 1.0;

void check_aspect(const Lens& lens, int64_t width, int64_t height) {
  if (lens.width <= 0 || lens.height <= 0) return;
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  const double scale = std::max(w / lens.width, h / lens.height);
  if (std::abs(lens.width * scale - w) <= kRounding &&
      std::abs(lens.height * scale - h) <= kRounding)
    return;
  const bool turned = (width > height) != (lens.width > lens.height);
  throw Error(Exit::data, "the image has ", width, " x ", height, " pixels, its camera ",
              lens.width, " x ", lens.height,
              turned
                  ? ": it is read as stored; if the camera is of what its EXIF orientation shows, "
                    "turn its pixels (mogrify -auto-orient)"
                  : ": images may be scaled, not cut");
}

/// What OpenCV interpolates must be premultiplied, or the colours of transparent pixels bleed.
uint8_t div255(int x) {
  return static_cast<uint8_t>(((x + 128) + ((x + 128) >> 8)) >> 8);
}

void premultiply(media::Image& image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4)
    for (size_t c = 0; c < 3; ++c)
      image.pixels[i + c] = div255(image.pixels[i + c] * image.pixels[i + 3]);
}

void divide_by_alpha(media::Image& image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4) {
    const int alpha = image.pixels[i + 3];
    if (alpha == 0 || alpha == 255) continue;
    for (size_t c = 0; c < 3; ++c)
      image.pixels[i + c] = static_cast<uint8_t>(std::min(255, 255 * image.pixels[i + c] / alpha));
  }
}

cv::Mat as_matrix(media::Image& image) {
  return cv::Mat(static_cast<int>(image.height), static_cast<int>(image.width),
                 CV_8UC(static_cast<int>(image.channels)), image.pixels.data());
}

cv::Matx33d matrix_of(const Camera& camera, double centre) {
  return {camera.fx, 0, camera.cx - centre, 0, camera.fy, camera.cy - centre, 0, 0, 1};
}

/// The pinhole that sees nothing but what the lens has seen, and as much of that as it can.
cv::Matx33d inner_pinhole(const Lens& lens, const cv::Matx33d& from, const cv::Size& size) {
  cv::Mat inner;
  if (lens.fisheye)
    cv::fisheye::estimateNewCameraMatrixForUndistortRectify(
        from, lens.distortion, size, cv::Mat::eye(3, 3, CV_64F), inner, /*balance=*/0.0);
  else
    inner = cv::getOptimalNewCameraMatrix(from, lens.distortion, size, /*alpha=*/0.0, size);
  cv::Matx33d result = inner;
  // The search for an inner rectangle gives anything where there is none.
  for (int i : {0, 1}) {
    const double share = result(i, i) / from(i, i);
    if (!(share > 0.02 && share < 50) || !std::isfinite(result(i, 2)))
      throw Error(Exit::data, "the lens sees too wide an angle, or its distortion is too strong, ",
                  "for a pinhole");
  }
  return result;
}

void undistort_by_opencv(const Lens& lens, media::Image& image, Camera& camera) {
  const cv::Size size(static_cast<int>(image.width), static_cast<int>(image.height));
  const auto from = matrix_of(camera, lens.centre);
  const auto to = inner_pinhole(lens, from, size);
  media::Image result(image.width, image.height, image.channels);
  const auto source = as_matrix(image);
  auto target = as_matrix(result);
  if (lens.fisheye)
    cv::fisheye::undistortImage(source, target, from, lens.distortion, to, size);
  else
    cv::undistort(source, target, from, lens.distortion, to);
  if (target.data != result.pixels.data()) throw Error(Exit::internal, "OpenCV has moved an image");
  image = std::move(result);
  camera.fx = to(0, 0);
  camera.fy = to(1, 1);
  camera.cx = to(0, 2) + lens.centre;
  camera.cy = to(1, 2) + lens.centre;
}

}  // namespace

void undistort(const Lens& lens, media::Image& image, Camera& camera) {
  check_aspect(lens, image.width, image.height);
  const auto& numbers = lens.distortion;
  const bool straight = !lens.fisheye && std::all_of(numbers.begin(), numbers.end(),
                                                     [](double one) { return one == 0; });
  if (straight) return;
  try {
    const bool alpha = image.channels == 4;
    if (alpha) premultiply(image);
    undistort_by_opencv(lens, image, camera);
    if (alpha) divide_by_alpha(image);
  } catch (const cv::Exception& error) {
    throw Error(Exit::data, "OpenCV cannot undo the distortion: ", error.err);
  }
}

}  // namespace lact::views
