#pragma once
// Cameras: a pinhole and where it stands. Source: spec/views 2, 3.

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lact::views {

using Vector = std::array<double, 3>;

/// A 4 x 4 matrix, row by row.
struct Matrix {
  std::array<double, 16> m{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  double& operator()(int row, int column) { return m[static_cast<size_t>(row * 4 + column)]; }
  double operator()(int row, int column) const { return m[static_cast<size_t>(row * 4 + column)]; }
  Vector column(int c) const { return {(*this)(0, c), (*this)(1, c), (*this)(2, c)}; }
  bool operator==(const Matrix&) const = default;
};
Matrix operator*(const Matrix& a, const Matrix& b);
/// Errors: 70 (internal) if it is singular.
Matrix inverse(const Matrix& a);

Vector cross(const Vector& a, const Vector& b);
double dot(const Vector& a, const Vector& b);
Vector unit(const Vector& a);
/// The pose of a camera at `eye` that looks at `target`; `up` stands upright in the image.
Matrix look_at(const Vector& eye, const Vector& target, const Vector& up = {0, 0, 1});

/// Intrinsics in pixels (centres of pixels at integer + 0.5) and the camera-to-world matrix, in
/// OpenCV's axes: x right, y down, z forward.
struct Camera {
  double fx = 0, fy = 0, cx = 0, cy = 0;
  Matrix c2w;
  Vector position() const { return c2w.column(3); }
};

/// Why a matrix is no pose ("row 3 is not 0 0 0 1", "not a rotation: ...", "not a number"); "" if
/// it is one. Rotations may be off by 1e-3.
std::string fault_of_pose(const Matrix& pose);

/// What makes a scene's poses comparable with those of training: x -> frame * x, then positions
/// times `scale` (spec/views 2.5).
struct Normalization {
  Matrix frame;      ///< identity: nothing moves
  double scale = 1;  ///< positions are multiplied by it
  Camera operator()(Camera camera) const;
};
/// The frame of the mean camera; the largest coordinate becomes 1.
/// Errors   65 if the cameras have no mean direction
Normalization normalization(const std::vector<Camera>& cameras);

/// The same by Config::normalize_poses: over `sample` ("all"), over `context`, or none.
Normalization normalization_of(const std::vector<Camera>& context,
                               const std::vector<Camera>& sample, const std::string& normalize);

/// opencv_cameras.json of cameras and their files, `width` x `height` pixels each (spec/views 2.1).
nlohmann::ordered_json cameras_json(const std::vector<Camera>& cameras,
                                    const std::vector<std::string>& files, int64_t width,
                                    int64_t height);

}  // namespace lact::views
