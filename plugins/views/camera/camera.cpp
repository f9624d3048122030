#include "camera.hpp"

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace lact::views {

Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix out;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      double sum = 0;
      for (int k = 0; k < 4; ++k) sum += a(i, k) * b(k, j);
      out(i, j) = sum;
    }
  return out;
}

Matrix inverse(const Matrix& a) {
  // Gauss and Jordan, with the largest of each column as pivot.
  Matrix left = a, right;
  for (int c = 0; c < 4; ++c) {
    int pivot = c;
    for (int r = c + 1; r < 4; ++r)
      if (std::abs(left(r, c)) > std::abs(left(pivot, c))) pivot = r;
    if (!(std::abs(left(pivot, c)) > 1e-300)) throw Error(Exit::internal, "a singular matrix");
    for (int j = 0; j < 4; ++j) {
      std::swap(left(c, j), left(pivot, j));
      std::swap(right(c, j), right(pivot, j));
    }
    const double factor = 1 / left(c, c);
    for (int j = 0; j < 4; ++j) left(c, j) *= factor, right(c, j) *= factor;
    for (int r = 0; r < 4; ++r) {
      if (r == c) continue;
      const double times = left(r, c);
      for (int j = 0; j < 4; ++j) {
        left(r, j) -= times * left(c, j);
        right(r, j) -= times * right(c, j);
      }
    }
  }
  return right;
}

Vector cross(const Vector& a, const Vector& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

double dot(const Vector& a, const Vector& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

Vector unit(const Vector& a) {
  const double length = std::sqrt(dot(a, a));
  return {a[0] / length, a[1] / length, a[2] / length};
}

namespace {

Matrix from_columns(const Vector& x, const Vector& y, const Vector& z, const Vector& origin) {
  Matrix out;
  for (int r = 0; r < 3; ++r) {
    const auto row = static_cast<size_t>(r);
    out(r, 0) = x[row];
    out(r, 1) = y[row];
    out(r, 2) = z[row];
    out(r, 3) = origin[row];
  }
  return out;
}

Vector mean_column(const std::vector<Camera>& cameras, int column) {
  Vector sum{};
  for (const auto& camera : cameras)
    for (size_t i = 0; i < 3; ++i) sum[i] += camera.c2w.column(column)[i];
  for (auto& one : sum) one /= static_cast<double>(cameras.size());
  return sum;
}

}  // namespace

Matrix look_at(const Vector& eye, const Vector& target, const Vector& up) {
  const auto forward = unit({target[0] - eye[0], target[1] - eye[1], target[2] - eye[2]});
  const auto right = unit(cross(forward, up));
  return from_columns(right, cross(forward, right), forward, eye);
}

std::string fault_of_pose(const Matrix& pose) {
  for (const double one : pose.m)
    if (!std::isfinite(one)) return "not a number";
  if (pose(3, 0) != 0 || pose(3, 1) != 0 || pose(3, 2) != 0 || pose(3, 3) != 1)
    return "its last row is not 0 0 0 1";
  double worst = 0;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      worst = std::max(worst, std::abs(dot(pose.column(i), pose.column(j)) - (i == j ? 1.0 : 0.0)));
  if (worst > 1e-3) return concat("not a rotation: its columns are off by ", worst);
  if (dot(cross(pose.column(0), pose.column(1)), pose.column(2)) < 0)
    return "a mirror image, not a rotation";
  return "";
}

Camera Normalization::operator()(Camera camera) const {
  camera.c2w = frame * camera.c2w;
  for (int r = 0; r < 3; ++r) camera.c2w(r, 3) *= scale;
  return camera;
}

Normalization normalization(const std::vector<Camera>& cameras) {
  const auto z = unit(mean_column(cameras, 2));
  const auto x = unit(cross(mean_column(cameras, 1), z));
  const auto y = unit(cross(z, x));
  for (const auto& axis : {x, y, z})
    for (const double one : axis)
      if (!std::isfinite(one))
        throw Error(Exit::data, "the cameras have no mean direction, so that poses cannot be ",
                    "normalised");
  Normalization out{inverse(from_columns(x, y, z, mean_column(cameras, 3))), 1};
  double largest = 0;
  for (const auto& camera : cameras)
    for (const double one : out(camera).position()) largest = std::max(largest, std::abs(one));
  // Cameras at one spot stand in the origin, whatever the scale; what is left of them is rounding.
  const auto middle = mean_column(cameras, 3);
  const double rounding = 1e-9 * (1 + std::sqrt(dot(middle, middle)));
  out.scale = largest > rounding ? 1 / largest : 1;
  return out;
}

Normalization normalization_of(const std::vector<Camera>& context,
                               const std::vector<Camera>& sample, const std::string& normalize) {
  if (normalize == "none") return {};
  return normalization(normalize == "all" ? sample : context);
}

nlohmann::ordered_json cameras_json(const std::vector<Camera>& cameras,
                                    const std::vector<std::string>& files, int64_t width,
                                    int64_t height) {
  auto all = nlohmann::ordered_json::array();
  for (size_t i = 0; i < cameras.size(); ++i) {
    const auto& camera = cameras[i];
    const auto w2c = inverse(camera.c2w);
    auto rows = nlohmann::ordered_json::array();
    for (int r = 0; r < 4; ++r) rows.push_back({w2c(r, 0), w2c(r, 1), w2c(r, 2), w2c(r, 3)});
    all.push_back({{"w", width},
                   {"h", height},
                   {"fx", camera.fx},
                   {"fy", camera.fy},
                   {"cx", camera.cx},
                   {"cy", camera.cy},
                   {"w2c", rows},
                   {"file_path", files.at(i)}});
  }
  return all;
}

}  // namespace lact::views
