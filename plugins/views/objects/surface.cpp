#include "surface.hpp"

#include <algorithm>
#include <cmath>

namespace lact::views::objects {
namespace {

/// How light a surface is whose normal is n: soft light from one side of the world, above.
float lightness(const Point& n) {
  static const Point kLight = unit3({0.5f, 0.35f, 0.8f});
  const float half = 0.5f + 0.5f * dot3(n, kLight);
  return 0.5f + 0.5f * half * half;
}

template <class Value>
float blend(const std::array<double, 3>& share, const Value& value) {
  return static_cast<float>(share[0] * value(0) + share[1] * value(1) + share[2] * value(2));
}

}  // namespace

float dot3(const Point& a, const Point& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

Point unit3(const Point& a) {
  const float length = std::sqrt(dot3(a, a));
  return length > 0 && std::isfinite(length) ? Point{a[0] / length, a[1] / length, a[2] / length}
                                             : Point{0, 0, 1};
}

/// What each corner has of a point. Linear in space is linear over distance on the picture.
std::array<double, 3> Surface::shares(int64_t column, int64_t row) const {
  const int64_t px = column * kSub + kSub / 2, py = row * kSub + kSub / 2;
  std::array<double, 3> out;
  double sum = 0;
  for (size_t k = 0; k < 3; ++k) {
    const size_t a = (k + 1) % 3, b = (k + 2) % 3;
    out[k] = static_cast<double>((x[b] - x[a]) * (py - y[a]) - (y[b] - y[a]) * (px - x[a])) * iz[k];
    sum += out[k];
  }
  for (auto& one : out) one /= sum;
  return out;
}

Paint Surface::paint(int64_t column, int64_t row) const {
  std::array<double, 3> share{};
  if (smooth || texture != nullptr) share = shares(column, row);
  auto n = normal[0];
  if (smooth) {
    for (size_t c = 0; c < 3; ++c) n[c] = blend(share, [&](size_t k) { return normal[k][c]; });
    n = unit3(n);
  }
  Paint out{material->colour[0], material->colour[1], material->colour[2], 1};
  if (texture != nullptr) out = textured(share);
  const float light = lightness(n) * material->opacity;
  for (size_t c = 0; c < 3; ++c) out[c] *= light;
  out[3] *= material->opacity;
  return out;
}

Paint Surface::textured(const std::array<double, 3>& share) const {
  const float u_here = blend(share, [&](size_t k) { return u[k]; });
  const float v_here = blend(share, [&](size_t k) { return v[k]; });
  double iz_here = 0;  // on the picture 1 / distance is linear, and so is what is multiplied by it
  for (size_t k = 0; k < 3; ++k) iz_here += share[k] / iz[k];
  iz_here = 1 / iz_here;
  // How many texels the next sample point is away, to the right and down.
  double right_u = 0, right_v = 0, down_u = 0, down_v = 0;
  for (size_t k = 0; k < 3; ++k) {
    const size_t a = (k + 1) % 3, b = (k + 2) % 3;
    const double right = -static_cast<double>(y[b] - y[a]) * kSub / area,
                 down = static_cast<double>(x[b] - x[a]) * kSub / area;
    const double du = iz[k] * (u[k] - u_here) / iz_here, dv = iz[k] * (v[k] - v_here) / iz_here;
    right_u += right * du, right_v += right * dv;
    down_u += down * du, down_v += down * dv;
  }
  const auto wide = static_cast<double>(texture->width()),
             high = static_cast<double>(texture->height());
  const double texels = std::max(std::hypot(right_u * wide, right_v * high),
                                 std::hypot(down_u * wide, down_v * high));
  auto out = texture->at(u_here, v_here, static_cast<float>(texels), material->clamp);
  // Kd tints a texture; how dark it is says nothing, since many programs write 0 or 0.64 there.
  const float most = std::max({material->colour[0], material->colour[1], material->colour[2]});
  for (size_t c = 0; c < 3; ++c) out[c] *= most > 0 ? material->colour[c] / most : 1;
  return out;
}

}  // namespace lact::views::objects
