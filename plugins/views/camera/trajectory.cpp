#include "trajectory.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace lact::views {
namespace {

using std::numbers::pi;

constexpr int64_t kMostFrames = 1'000'000;

double radians(double degrees) {
  return degrees * pi / 180;
}

void check_frames(int64_t frames, size_t views) {
  if (frames < 1 || frames > kMostFrames)
    throw Error(Exit::usage, "a camera path: expected 1 to ", kMostFrames, " frames, found ",
                frames);
  if (views == 0) throw Error(Exit::usage, "a camera path between views: there is no view");
}

// --- between two cameras -------------------------------------------------------------------------

using Quaternion = std::array<double, 4>;  // w, x, y, z

/// Of the rotation in the upper 3 x 3 part, by the largest component, so that no division is bad.
Quaternion quaternion(const Matrix& m) {
  const double t[4] = {m(0, 0) + m(1, 1) + m(2, 2), m(0, 0) - m(1, 1) - m(2, 2),
                       m(1, 1) - m(0, 0) - m(2, 2), m(2, 2) - m(0, 0) - m(1, 1)};
  const auto largest = std::max_element(t, t + 4) - t;
  const double root = std::sqrt(std::max(0.0, t[largest] + 1)), half = 0.5 / root;
  const double wx = (m(2, 1) - m(1, 2)) * half, wy = (m(0, 2) - m(2, 0)) * half,
               wz = (m(1, 0) - m(0, 1)) * half;
  const double xy = (m(0, 1) + m(1, 0)) * half, xz = (m(0, 2) + m(2, 0)) * half,
               yz = (m(1, 2) + m(2, 1)) * half;
  switch (largest) {
    case 0:
      return {root / 2, wx, wy, wz};
    case 1:
      return {wx, root / 2, xy, xz};
    case 2:
      return {wy, xy, root / 2, yz};
    default:
      return {wz, xz, yz, root / 2};
  }
}

void set_rotation(Matrix& m, const Quaternion& q) {
  const auto [w, x, y, z] = q;
  const double rows[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                             {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                             {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) m(r, c) = rows[r][c];
}

Quaternion slerp(const Quaternion& a, Quaternion b, double share) {
  double cosine = 0;
  for (size_t i = 0; i < 4; ++i) cosine += a[i] * b[i];
  if (cosine < 0) {  // -q is the same rotation: take the shorter arc
    cosine = -cosine;
    for (auto& one : b) one = -one;
  }
  double from = 1 - share, to = share;
  if (cosine < 1 - 1e-9) {
    const double angle = std::acos(cosine);
    from = std::sin((1 - share) * angle) / std::sin(angle);
    to = std::sin(share * angle) / std::sin(angle);
  }
  Quaternion out{};
  double length = 0;
  for (size_t i = 0; i < 4; ++i) {
    out[i] = from * a[i] + to * b[i];
    length += out[i] * out[i];
  }
  for (auto& one : out) one /= std::sqrt(length);
  return out;
}

Camera blend(const Camera& a, const Camera& b, double share, Blend how) {
  if (share == 0) return a;
  const auto mix = [share](double x, double y) { return (1 - share) * x + share * y; };
  Camera out{mix(a.fx, b.fx), mix(a.fy, b.fy), mix(a.cx, b.cx), mix(a.cy, b.cy), {}};
  for (size_t i = 0; i < 16; ++i) out.c2w.m[i] = mix(a.c2w.m[i], b.c2w.m[i]);
  if (how == Blend::slerp)
    set_rotation(out.c2w, slerp(quaternion(a.c2w), quaternion(b.c2w), share));
  return out;
}

// --- the middle of many cameras ------------------------------------------------------------------

/// Where the cameras stand on average, and which way they look.
Matrix mean_pose(const std::vector<Camera>& cameras) {
  Vector position{}, down{}, forward{};
  for (const auto& camera : cameras)
    for (size_t i = 0; i < 3; ++i) {
      position[i] += camera.position()[i];
      down[i] += camera.c2w.column(1)[i];
      forward[i] += camera.c2w.column(2)[i];
    }
  const auto count = static_cast<double>(cameras.size());
  // Cameras all around look nowhere on average. A tenth: half of them may look back.
  if (std::sqrt(dot(forward, forward)) < 0.1 * count)
    throw Error(Exit::data, "the views look all ways, so that they have no middle to turn around; ",
                "take a turntable, or interpolate between them");
  for (auto& one : position) one /= count;
  const Vector target{position[0] + forward[0], position[1] + forward[1], position[2] + forward[2]};
  const auto out = look_at(position, target, {-down[0], -down[1], -down[2]});
  if (!fault_of_pose(out).empty())
    throw Error(Exit::data, "the views have no upright direction in common");
  return out;
}

Vector minus(const Vector& a, const Vector& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

/// The value that `share` of all are not above, on a line between neighbours.
double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

/// How far the cameras stand off the mean pose, along each of its axes.
Vector spread(const std::vector<Camera>& cameras, const Matrix& mean) {
  Vector out{};
  for (int axis = 0; axis < 3; ++axis) {
    std::vector<double> values;
    for (const auto& camera : cameras)
      values.push_back(std::abs(dot(minus(camera.position(), mean.column(3)), mean.column(axis))));
    out[static_cast<size_t>(axis)] = percentile(std::move(values), 0.9);
  }
  return out;
}

}  // namespace

Trajectory turntable(int64_t frames, int64_t width, int64_t height, const Turntable& how) {
  check_frames(frames, 1);
  Trajectory out{{}, width, height};
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  const double f = w / (2 * std::tan(radians(how.horizontal_fov) / 2));
  const double middle = (how.min_radius + how.max_radius) / 2,
               amplitude = (how.max_radius - how.min_radius) / 2;
  for (int64_t i = 0; i < frames; ++i) {
    const auto at = static_cast<double>(i), n = static_cast<double>(frames);
    const double azimuth = 2 * pi * at / n;
    const double wave = frames > 1 ? std::sin(2 * pi * at / (n - 1)) : 0;
    const double elevation = radians(how.elevation + how.swing * wave);
    const double radius = middle + amplitude * wave;
    const Vector eye{radius * std::cos(elevation) * std::cos(azimuth),
                     radius * std::cos(elevation) * std::sin(azimuth),
                     radius * std::sin(elevation)};
    out.cameras.push_back({f, f, w / 2, h / 2, look_at(eye, {0, 0, 0})});
  }
  return out;
}

Trajectory interpolate(const std::vector<Camera>& views, int64_t extra, int64_t width,
                       int64_t height, Blend how) {
  check_frames(1, views.size());
  if (extra < 0 || extra > kMostFrames / static_cast<int64_t>(views.size()))
    throw Error(Exit::usage, "a camera path: expected 0 or more cameras between neighbours, at ",
                "most ", kMostFrames, " in all; found ", extra);
  Trajectory out{{}, width, height};
  for (size_t i = 0; i + 1 < views.size(); ++i)
    for (int64_t k = 0; k <= extra; ++k)
      out.cameras.push_back(blend(views[i], views[i + 1],
                                  static_cast<double>(k) / static_cast<double>(extra + 1), how));
  out.cameras.push_back(views.back());
  return out;
}

Trajectory resample(const std::vector<Camera>& views, int64_t frames, int64_t width, int64_t height,
                    Blend how) {
  check_frames(frames, views.size());
  Trajectory out{{}, width, height};
  const auto last = static_cast<double>(views.size() - 1);
  for (int64_t i = 0; i < frames; ++i) {
    const double at =
        frames > 1 ? last * static_cast<double>(i) / static_cast<double>(frames - 1) : 0;
    const auto low = std::min(static_cast<size_t>(at), views.size() - 1);
    out.cameras.push_back(blend(views[low], views[std::min(low + 1, views.size() - 1)],
                                at - static_cast<double>(low), how));
  }
  return out;
}

Vector focus(const std::vector<Camera>& cameras) {
  // Each line of sight keeps the part of a point that is across it: sum (I - d d^T) (p - o) = 0.
  Matrix sum;
  sum.m.fill(0);
  sum(3, 3) = 1;
  Vector right{};
  for (const auto& camera : cameras) {
    const auto d = unit(camera.c2w.column(2)), o = camera.position();
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c) {
        const double across =
            (r == c ? 1.0 : 0.0) - d[static_cast<size_t>(r)] * d[static_cast<size_t>(c)];
        sum(r, c) += across;
        right[static_cast<size_t>(r)] += across * o[static_cast<size_t>(c)];
      }
  }
  const auto mean = mean_pose(cameras);
  const double determinant = dot(cross(sum.column(0), sum.column(1)), sum.column(2));
  // 1 / count^3 of it is 0 for parallel lines, and sin^2 of the angle between two of them / 4.
  if (determinant > 1e-6 * std::pow(static_cast<double>(cameras.size()), 3)) {
    const auto solve = inverse(sum);
    Vector point{};
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c)
        point[static_cast<size_t>(r)] += solve(r, c) * right[static_cast<size_t>(c)];
    if (dot(minus(point, mean.column(3)), mean.column(2)) > 0) return point;
  }
  const auto spreads = spread(cameras, mean);
  double far = 10 * std::max({spreads[0], spreads[1], spreads[2]});
  if (far == 0) far = 1;
  const auto eye = mean.column(3), ahead = mean.column(2);
  return {eye[0] + far * ahead[0], eye[1] + far * ahead[1], eye[2] + far * ahead[2]};
}

Trajectory spiral(const std::vector<Camera>& views, int64_t frames, int64_t width, int64_t height,
                  double turns) {
  check_frames(frames, views.size());
  const auto mean = mean_pose(views);
  const auto wide = spread(views, mean);
  const auto target = focus(views);
  const auto down = mean.column(1);
  Camera camera;
  for (const auto& view : views) {
    const auto n = static_cast<double>(views.size());
    camera.fx += view.fx / n, camera.fy += view.fy / n;
    camera.cx += view.cx / n, camera.cy += view.cy / n;
  }
  Trajectory out{{}, width, height};
  for (int64_t i = 0; i < frames; ++i) {
    const double angle = 2 * pi * turns * static_cast<double>(i) / static_cast<double>(frames);
    // Half as fast forwards and back as around.
    const Vector step{wide[0] * std::cos(angle), wide[1] * std::sin(angle),
                      wide[2] * std::sin(angle / 2)};
    auto eye = mean.column(3);
    for (int axis = 0; axis < 3; ++axis)
      for (size_t r = 0; r < 3; ++r)
        eye[r] += step[static_cast<size_t>(axis)] * mean.column(axis)[r];
    camera.c2w = look_at(eye, target, {-down[0], -down[1], -down[2]});
    out.cameras.push_back(camera);
  }
  return out;
}

int64_t far_from(const std::vector<Camera>& known, const std::vector<Camera>& path) {
  const auto apart = [](const Vector& a, const Vector& b) {
    return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  };
  Vector middle{};
  for (const auto& one : known)
    for (size_t i = 0; i < 3; ++i)
      middle[i] += one.position()[i] / static_cast<double>(known.size());
  double spread = 0;
  for (const auto& one : known) spread = std::max(spread, apart(one.position(), middle));
  if (spread <= 1e-9 * apart(middle, {})) return 0;  // of one place, but for rounding
  // Between two or three views there is much room; rounding must not count.
  const double near = known.size() < 4 ? 1.001 * spread : spread / 2;
  return std::count_if(path.begin(), path.end(), [&](const Camera& camera) {
    return std::none_of(known.begin(), known.end(), [&](const Camera& one) {
      return apart(one.position(), camera.position()) <= near;
    });
  });
}

}  // namespace lact::views
