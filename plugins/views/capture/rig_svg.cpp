// Cameras drawn as frusta: one panel at an angle, one from above, one from the side.

#include "rig.hpp"

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace lact::views {
namespace {

constexpr double kWidth = 960, kHeight = 560;
constexpr double kAxis = 0.2;  ///< length of the axes, of the rig's size
constexpr double kPi = 3.14159265358979323846;

struct Point {
  double x = 0, y = 0, depth = 0;  ///< depth grows towards the eye
};

struct Panel {
  const char* title;
  double x, y, width, height;
  double azimuth, elevation;  ///< of the eye, in radians; elevation pi / 2 is from above
};
constexpr std::array kPanels{Panel{"", 0, 44, 580, 484, -0.95, 0.45},
                             Panel{"from above", 596, 44, 348, 234, 0, kPi / 2},
                             Panel{"from the side", 596, 294, 348, 234, 0, 0}};

std::string number(double value, const char* form = "%.1f") {
  char text[32];
  std::snprintf(text, sizeof text, form, value);
  const std::string result = text;
  return result == "-0.0" ? "0.0" : result;
}

std::string text_at(double x, double y, const std::string& more, const std::string& text) {
  return concat("<text x=\"", number(x), "\" y=\"", number(y), "\" ", more, ">",
                cli::xml_text(text), "</text>\n");
}

/// From dark blue over green to orange: first to last, told apart by colour-blind readers too.
std::string colour(double share) {
  constexpr double kStops[][3] = {{49, 54, 149},  {34, 113, 178}, {31, 148, 139},
                                  {110, 170, 60}, {217, 150, 20}, {200, 70, 30}};
  const double at = share * 5;
  const auto low = static_cast<size_t>(std::min(4.0, std::floor(at)));
  char text[8];
  int mixed[3];
  for (size_t c = 0; c < 3; ++c)
    mixed[c] = static_cast<int>(std::lround(
        kStops[low][c] + (at - static_cast<double>(low)) * (kStops[low + 1][c] - kStops[low][c])));
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mixed[0], mixed[1], mixed[2]);
  return text;
}

Vector minus(const Vector& a, const Vector& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

Vector blend(const Vector& a, double s, const Vector& b) {
  return {a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]};
}

/// The place of a point in the world on a panel.
class Projection {
 public:
  /// `up` is what is up in the photographs; `front` points where azimuth is 0.
  Projection(const Panel& panel, const Vector& up, const Vector& front, const Vector& centre)
      : panel_(panel), centre_(centre) {
    const auto side = cross(up, front);
    const auto forward = blend(Vector{}, std::cos(panel.azimuth), front);
    const auto flat = blend(forward, std::sin(panel.azimuth), side);  // from centre to eye, level
    right_ = cross(up, flat);
    eye_ = blend(blend(Vector{}, std::cos(panel.elevation), flat), std::sin(panel.elevation), up);
    top_ = cross(eye_, right_);
  }
  /// Chooses scale and place so that all points lie in the panel.
  void fit(const std::vector<Vector>& points) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (const auto& point : points) {
      const auto off = minus(point, centre_);
      const double at[2] = {dot(off, right_), -dot(off, top_)};
      for (int i : {0, 1}) {
        low[i] = std::min(low[i], at[i]);
        high[i] = std::max(high[i], at[i]);
      }
    }
    constexpr double kMargin = 30;
    scale_ = std::min((panel_.width - 2 * kMargin) / std::max(1e-9, high[0] - low[0]),
                      (panel_.height - 2 * kMargin) / std::max(1e-9, high[1] - low[1]));
    x_ = panel_.x + panel_.width / 2 - scale_ * (low[0] + high[0]) / 2;
    y_ = panel_.y + panel_.height / 2 - scale_ * (low[1] + high[1]) / 2;
  }
  Point operator()(const Vector& point) const {
    const auto off = minus(point, centre_);
    return {x_ + scale_ * dot(off, right_), y_ - scale_ * dot(off, top_), dot(off, eye_)};
  }
  double scale() const { return scale_; }

 private:
  Panel panel_;
  Vector centre_, right_{}, top_{}, eye_{};
  double scale_ = 1, x_ = 0, y_ = 0;
};

/// Tip, then the corners of the image: left top, right top, right bottom, left bottom.
using Frustum = std::array<Vector, 5>;

Frustum frustum(const Camera& camera, double width, double height, double depth) {
  const auto tip = camera.position();
  const auto x = camera.c2w.column(0), y = camera.c2w.column(1), z = camera.c2w.column(2);
  const auto corner = [&](double column, double row) {
    auto at = blend(tip, depth, z);
    at = blend(at, depth * (column - camera.cx) / camera.fx, x);
    return blend(at, depth * (row - camera.cy) / camera.fy, y);
  };
  return {tip, corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)};
}

std::string path(const std::vector<Point>& points, bool closed) {
  std::string text;
  for (size_t i = 0; i < points.size(); ++i)
    text += concat(i == 0 ? "M" : "L", number(points[i].x), " ", number(points[i].y));
  return text + (closed ? "Z" : "");
}

std::string draw_frustum(const Frustum& frustum, const Projection& place, const std::string& ink,
                         double strength) {
  std::array<Point, 5> p;
  for (size_t i = 0; i < 5; ++i) p[i] = place(frustum[i]);
  const auto line = [&](const std::string& d, const char* more) {
    return concat("<path d=\"", d, "\" stroke=\"", ink, "\" ", more, "/>\n");
  };
  std::string edges;
  for (size_t i = 1; i < 5; ++i) edges += path({p[0], p[i]}, false);
  // What is up in the image has the thicker edge.
  return concat(
      "<g opacity=\"", number(strength, "%.2f"), "\">\n",
      line(path({p[1], p[2], p[3], p[4]}, true),
           concat("fill=\"", ink, "\" fill-opacity=\"0.2\" stroke-width=\"0.9\"").c_str()),
      line(edges, "fill=\"none\" stroke-width=\"0.7\""),
      line(path({p[1], p[2]}, false), "fill=\"none\" stroke-width=\"2\""), "</g>\n");
}

/// 1, 2 or 5 times a power of ten, at most `value`.
double round_length(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double digit : {5.0, 2.0})
    if (digit * power <= value) return digit * power;
  return power;
}

/// The axes of the world at a point.
std::string draw_axes(const Projection& place, const Vector& at, double length) {
  constexpr const char* kInk[] = {"#c0392b", "#2e8b57", "#2b5cc0"};
  constexpr const char* kName[] = {"x", "y", "z"};
  std::string text;
  for (size_t i = 0; i < 3; ++i) {
    Vector axis{};
    axis[i] = 1;
    const auto from = place(at), to = place(blend(at, length, axis));
    text += concat("<path d=\"", path({from, to}, false), "\" stroke=\"", kInk[i],
                   "\" stroke-width=\"1.6\" fill=\"none\"/>\n");
    // An axis that points at the reader has no room for its name.
    const double off = std::hypot(to.x - from.x, to.y - from.y);
    if (off > 8)
      text += text_at(to.x + 7 * (to.x - from.x) / off, to.y + 7 * (to.y - from.y) / off + 4,
                      concat("text-anchor=\"middle\" fill=\"", kInk[i], "\" font-size=\"11\""),
                      kName[i]);
  }
  return text;
}

struct Drawing {
  std::vector<Frustum> frusta;
  RigShape rig;
  double size = 1;  ///< of the rig

  std::string ink(size_t i) const {
    return colour(
        frusta.size() < 2 ? 0 : static_cast<double>(i) / static_cast<double>(frusta.size() - 1));
  }
  std::string panel(const Panel& panel) const;
  std::string numbers(const Projection& place) const;
};

/// Behind each camera. Numbers that would cover others are left out, rounder ones stay.
std::string Drawing::numbers(const Projection& place) const {
  constexpr double kHigh = 10, kDigit = 5.6;
  struct Box {
    double x, y, half;
  };
  std::vector<Box> taken;
  std::vector<bool> done(frusta.size());
  std::string text;
  for (size_t step = 64; step > 0; step /= 2)
    for (size_t i = 0; i < frusta.size(); i += step) {
      if (done[i]) continue;
      done[i] = true;
      const auto tip = place(frusta[i][0]);
      const auto image = place(blend(blend(Vector{}, 0.5, frusta[i][1]), 0.5, frusta[i][3]));
      const double dx = tip.x - image.x, dy = tip.y - image.y, off = std::hypot(dx, dy);
      const auto digits = std::to_string(i);
      const Box box{tip.x + (off > 1 ? 9 * dx / off : 0), tip.y + (off > 1 ? 9 * dy / off : -9),
                    kDigit / 2 * static_cast<double>(digits.size()) + 1};
      const bool covers = std::any_of(taken.begin(), taken.end(), [&](const Box& other) {
        return std::abs(box.x - other.x) < box.half + other.half &&
               std::abs(box.y - other.y) < kHigh;
      });
      if (covers) continue;
      taken.push_back(box);
      text += text_at(box.x, box.y + 3.2, "text-anchor=\"middle\" class=\"n\"", digits);
    }
  return text;
}

std::string Drawing::panel(const Panel& panel) const {
  // Azimuth 0 is where the first camera stands, level.
  auto front = minus(frusta[0][0], rig.centre);
  front = blend(front, -dot(front, rig.up), rig.up);
  if (dot(front, front) < 1e-9 * size * size)
    front = cross(rig.up, std::abs(rig.up[0]) < 0.9 ? Vector{1, 0, 0} : Vector{0, 1, 0});
  Projection place(panel, rig.up, unit(front), rig.centre);
  std::vector<Vector> all{rig.centre};
  for (const auto& axis : {Vector{1, 0, 0}, Vector{0, 1, 0}, Vector{0, 0, 1}})
    all.push_back(blend(rig.centre, kAxis * size, axis));
  for (const auto& one : frusta) all.insert(all.end(), one.begin(), one.end());
  place.fit(all);
  std::string text =
      concat("<rect x=\"", number(panel.x + 8), "\" y=\"", number(panel.y), "\" width=\"",
             number(panel.width - 8), "\" height=\"", number(panel.height),
             "\" rx=\"5\" fill=\"#fafafa\" stroke=\"#dddddd\"/>\n");
  text += text_at(panel.x + 20, panel.y + 20, "fill=\"#555555\" font-size=\"12\"", panel.title);
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < frusta.size(); ++i) order.emplace_back(place(frusta[i][0]).depth, i);
  std::sort(order.begin(), order.end());
  // What is further from the reader is paler.
  const double far = order.front().first, near = order.back().first;
  for (const auto& [depth, i] : order)
    text += draw_frustum(frusta[i], place, ink(i),
                         0.45 + 0.55 * (near > far ? (depth - far) / (near - far) : 1));
  text += draw_axes(place, rig.centre, kAxis * size);
  text += numbers(place);
  const double length = round_length(90 / place.scale()), pixels = length * place.scale();
  const double x = panel.x + panel.width - 16 - pixels, y = panel.y + panel.height - 14;
  text += concat("<path d=\"M", number(x), " ", number(y - 4), "v4h", number(pixels),
                 "v-4\" fill=\"none\" stroke=\"#555555\"/>\n");
  return text + text_at(x + pixels / 2, y - 6,
                        "text-anchor=\"middle\" fill=\"#555555\" font-size=\"11\"",
                        number(length, "%g"));
}

/// The median of the distances from a camera to the nearest other.
double spacing(const std::vector<Camera>& cameras) {
  std::vector<double> nearest;
  for (size_t i = 0; i < cameras.size(); ++i) {
    double least = INFINITY;
    for (size_t j = 0; j < cameras.size(); ++j) {
      const auto off = minus(cameras[i].position(), cameras[j].position());
      if (i != j) least = std::min(least, std::sqrt(dot(off, off)));
    }
    nearest.push_back(least);
  }
  std::nth_element(nearest.begin(), nearest.begin() + static_cast<int64_t>(nearest.size() / 2),
                   nearest.end());
  return nearest[nearest.size() / 2];
}

/// Which colour is which number.
std::string legend(size_t count) {
  constexpr double kLeft = 20, kTop = 542, kLong = 160;
  std::string text = "<linearGradient id=\"order\">";
  for (const double share : {0.0, 0.2, 0.4, 0.6, 0.8, 1.0})
    text += concat("<stop offset=\"", number(share), "\" stop-color=\"", colour(share), "\"/>");
  text += concat("</linearGradient>\n<rect x=\"", number(kLeft + 46), "\" y=\"", number(kTop),
                 "\" width=\"", number(kLong), "\" height=\"8\" rx=\"2\" fill=\"url(#order)\"/>\n");
  text += text_at(kLeft + 40, kTop + 8, "text-anchor=\"end\" fill=\"#555555\" font-size=\"11\"",
                  "view 0");
  return text + text_at(kLeft + kLong + 52, kTop + 8, "fill=\"#555555\" font-size=\"11\"",
                        std::to_string(count - 1));
}

}  // namespace

std::string rig_svg(const std::string& title, const std::vector<Camera>& cameras, int64_t width,
                    int64_t height) {
  if (cameras.empty()) throw Error(Exit::internal, "a rig without cameras");
  Drawing drawing;
  drawing.rig = describe_rig(cameras, width);
  const auto extent = minus(drawing.rig.high, drawing.rig.low);
  drawing.size = std::max(drawing.rig.furthest, std::sqrt(dot(extent, extent)) / 2);
  if (drawing.size <= 0) drawing.size = 1;  // one camera
  // As wide as there is room between neighbours.
  const double wide = std::clamp(0.45 * spacing(cameras), 0.06 * drawing.size, 0.25 * drawing.size);
  for (const auto& camera : cameras) {
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    const double angle = std::max(w / camera.fx, h / camera.fy);
    drawing.frusta.push_back(frustum(camera, w, h, wide / std::max(0.4, angle)));
  }
  std::string text = concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", number(kWidth, "%g"), "\" height=\"",
      number(kHeight, "%g"), "\" viewBox=\"0 0 ", number(kWidth, "%g"), " ", number(kHeight, "%g"),
      "\" role=\"img\" font-family=\"sans-serif\" stroke-linejoin=\"round\">\n<title>",
      cli::xml_text(title), "</title>\n",
      "<style>.n{font-size:9px;fill:#222222;paint-order:stroke;stroke:#fafafa;stroke-width:2px}"
      "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
  text += text_at(20, 28, "font-size=\"16\" fill=\"#222222\"", title);
  for (const auto& panel : kPanels) text += drawing.panel(panel);
  return text + legend(cameras.size()) + "</svg>\n";
}

}  // namespace lact::views
