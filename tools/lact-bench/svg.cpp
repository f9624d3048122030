#include "svg.hpp"

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace lact::bench {
namespace {

constexpr double kWidth = 760, kHeight = 460;
constexpr double kLeft = 78, kRight = 20, kTop = 40, kBottom = 58, kLegendLine = 18;

struct Look {
  const char* colour;  ///< dark enough on white, and apart when printed in grey
  const char* dash;
};
// Colours that colour-blind readers tell apart (Okabe and Ito), each with its own dashes.
constexpr std::array kLooks{Look{"#000000", ""},     Look{"#d55e00", "8 4"},
                            Look{"#0072b2", "2 3"},  Look{"#009e73", "10 3 2 3"},
                            Look{"#8c4a76", "14 5"}, Look{"#7a5c00", "5 2 1 2 1 2"},
                            Look{"#3a7ca5", "1 5"},  Look{"#555555", "16 3 5 3"}};
constexpr int kMarkers = 7;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  std::string result = text;
  if (result.size() > 2 && result.compare(result.size() - 2, 2, ".0") == 0)
    result.resize(result.size() - 2);
  return result == "-0" ? "0" : result;
}

std::string label(double x, double y, const char* more, const std::string& text) {
  return concat("<text x=\"", number(x), "\" y=\"", number(y), "\" ", more, ">",
                cli::xml_text(text), "</text>\n");
}

std::string line(double x1, double y1, double x2, double y2, const char* more) {
  return concat("<line x1=\"", number(x1), "\" y1=\"", number(y1), "\" x2=\"", number(x2),
                "\" y2=\"", number(y2), "\" ", more, "/>\n");
}

/// Centre (x, y), about 8 across. Shapes tell curves apart where colours cannot.
std::string marker(int shape, double x, double y, const char* colour) {
  const auto path = [&](const char* form, bool filled) {
    return concat("<path transform=\"translate(", number(x), " ", number(y), ")\" d=\"", form,
                  "\" fill=\"", filled ? colour : "white", "\" stroke=\"", colour, "\"/>\n");
  };
  switch (shape % kMarkers) {
    case 0:
      return path("M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", true);
    case 1:
      return path("M-4-4H4V4H-4Z", false);
    case 2:
      return path("M0-5L5 4H-5Z", true);
    case 3:
      return path("M0-5L5 0L0 5L-5 0Z", false);
    case 4:
      return path("M-4-4L4 4M4-4L-4 4", false);
    case 5:
      return path("M-5 0H5M0-5V5", false);
    default:
      return path("M0 5L5-4H-5Z", false);
  }
}

/// From values to a stretch of the picture.
struct Scale {
  double low, high, from, to;
  bool log;

  double operator()(double value) const {
    const auto t = [&](double v) { return log ? std::log10(v) : v; };
    return from + (t(value) - t(low)) / (t(high) - t(low)) * (to - from);
  }
  bool holds(double value) const { return value >= low && value <= high; }
};

/// Differences of larger values overflow. Whoever diverged so far is not drawn, as infinity is not.
constexpr double kMostDrawn = 1e300;

bool drawable(double value, bool log) {
  return std::abs(value) < kMostDrawn && (!log || value > 0);
}

/// The range of all curves, with some air where `air`, never empty.
std::pair<double, double> range(const Chart& chart, bool of_y, bool air) {
  const bool log = of_y ? chart.log_y : chart.log_x;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto& curve : chart.curves)
    for (const auto& [x, y] : curve.points) {
      if (!drawable(x, chart.log_x) || !drawable(y, chart.log_y)) continue;
      low = std::min(low, of_y ? y : x);
      high = std::max(high, of_y ? y : x);
    }
  if (low > high) low = log ? 0.1 : 0, high = 1;
  if (low == high) {
    const double width = low == 0 ? 1 : std::abs(low) / 2;
    return log ? std::make_pair(low / 2, high * 2) : std::make_pair(low - width, high + width);
  }
  if (!air) return {low, high};
  if (log) return {low / std::pow(high / low, 0.04), high * std::pow(high / low, 0.04)};
  return {low - 0.04 * (high - low), high + 0.04 * (high - low)};
}

using Points = std::vector<std::pair<double, double>>;

/// At most two points, the lowest and the highest, per column of the picture: no peak is lost.
Points thin(const Points& points) {
  if (points.size() <= 4 * kWidth) return points;
  Points result;
  for (size_t begin = 0; begin < points.size();) {
    size_t end = begin + 1, low = begin, high = begin;
    for (; end < points.size() && std::floor(points[end].first) == std::floor(points[begin].first);
         ++end) {
      if (points[end].second < points[low].second) low = end;
      if (points[end].second > points[high].second) high = end;
    }
    result.push_back(points[std::min(low, high)]);
    if (low != high) result.push_back(points[std::max(low, high)]);
    begin = end;
  }
  return result;
}

std::string draw_curve(const Chart& chart, size_t index, const Scale& x, const Scale& y) {
  const auto& look = kLooks[index % kLooks.size()];
  Points places;
  for (const auto& [px, py] : chart.curves[index].points)
    if (drawable(px, chart.log_x) && drawable(py, chart.log_y)) places.emplace_back(x(px), y(py));
  places = thin(places);
  std::string path;
  for (const auto& [px, py] : places) path += number(px) + "," + number(py) + " ";
  if (!path.empty()) path.pop_back();
  std::string text =
      concat("<polyline points=\"", path, "\" fill=\"none\" stroke=\"", look.colour,
             "\" stroke-width=\"1.6\" stroke-linejoin=\"round\" clip-path=\"url(#frame)\"",
             *look.dash ? concat(" stroke-dasharray=\"", look.dash, "\"") : "", "/>\n");
  // About eight markers a curve, shifted so that those of two curves do not cover each other.
  const size_t step = std::max<size_t>(1, places.size() / 8);
  const size_t shift =
      places.size() > 16 ? index * step / std::max<size_t>(1, chart.curves.size()) : 0;
  for (size_t i = shift; i < places.size(); i += step)
    if (places[i].second >= kTop - 1 && places[i].second <= kHeight - kBottom + 1)
      text += marker(static_cast<int>(index), places[i].first, places[i].second, look.colour);
  return text;
}

/// Chunks of 16, 64, 256 are marked as what they are. Empty unless all x are such.
std::vector<double> powers_of_two(const Chart& chart, const Scale& x) {
  int exponent = 0;
  for (const auto& curve : chart.curves)
    for (const auto& point : curve.points)
      if (std::frexp(point.first, &exponent) != 0.5 || point.first < 1) return {};
  std::vector<double> marks;
  const double step = std::log2(x.high / x.low) > 12 ? 4 : 2;
  for (double mark = std::exp2(std::ceil(std::log2(x.low) - 1e-9)); mark <= x.high; mark *= step)
    marks.push_back(mark);
  return marks;
}

std::string draw_axes(const Chart& chart, const Scale& x, const Scale& y) {
  std::string text;
  const char* grid = "stroke=\"#dddddd\"";
  const auto powers = chart.log_x ? powers_of_two(chart, x) : std::vector<double>();
  for (const double mark : powers.empty() ? axis_marks(x.low, x.high, chart.log_x, 8) : powers) {
    text += line(x(mark), y.from, x(mark), y.to, grid);
    text += label(x(mark), y.from + 18, "text-anchor=\"middle\"",
                  powers.empty() ? axis_text(mark) : std::to_string(std::llround(mark)));
  }
  for (const double mark : axis_marks(y.low, y.high, chart.log_y, 7)) {
    text += line(x.from, y(mark), x.to, y(mark), grid);
    text += label(x.from - 8, y(mark) + 4, "text-anchor=\"end\"", axis_text(mark));
  }
  text += concat("<rect x=\"", number(x.from), "\" y=\"", number(y.to), "\" width=\"",
                 number(x.to - x.from), "\" height=\"", number(y.from - y.to),
                 "\" fill=\"none\" stroke=\"#000000\"/>\n");
  text += label((x.from + x.to) / 2, y.from + 40, "text-anchor=\"middle\"", chart.x_label);
  const auto turned = concat("text-anchor=\"middle\" transform=\"rotate(-90 18 ",
                             number((y.from + y.to) / 2), ")\"");
  text += label(18, (y.from + y.to) / 2, turned.c_str(), chart.y_label);
  return text;
}

/// Below the axes, one line a curve.
std::string draw_legend(const Chart& chart) {
  std::string text;
  for (size_t i = 0; i < chart.curves.size(); ++i) {
    const auto& look = kLooks[i % kLooks.size()];
    const double y = kHeight + kLegendLine * static_cast<double>(i) + 2;
    const auto stroke = concat("stroke=\"", look.colour, "\" stroke-width=\"1.6\"",
                               *look.dash ? concat(" stroke-dasharray=\"", look.dash, "\"") : "");
    text += line(kLeft, y, kLeft + 60, y, stroke.c_str());
    text += marker(static_cast<int>(i), kLeft + 30, y, look.colour);
    text += label(kLeft + 70, y + 4, "text-anchor=\"start\"", chart.curves[i].name);
  }
  return text;
}

}  // namespace

std::vector<double> axis_marks(double low, double high, bool log, int wanted) {
  std::vector<double> marks;
  if (log && high / low >= 10) {
    const bool sparse = std::log10(high / low) > wanted / 2.0;
    for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10)
      for (const double digit : {1.0, 2.0, 5.0})
        if ((digit == 1 || !sparse) && digit * power >= low && digit * power <= high)
          marks.push_back(digit * power);
    return marks;
  }
  const double rough = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {5.0, 2.0, 1.0})
    if (digit * power >= rough * 0.999) step = digit * power;
  // Counted, not added up: errors would show in the last digits.
  for (auto i = static_cast<int64_t>(std::ceil(low / step - 1e-9));
       static_cast<double>(i) * step <= high + 1e-9 * step; ++i)
    marks.push_back(static_cast<double>(i) * step);
  return marks;
}

std::string axis_text(double value) {
  char text[32];
  const double size = std::abs(value);
  if (size >= 1e15 || size < 1000) {
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
  }
  constexpr const char* kSuffix[] = {"k", "M", "G", "T"};
  size_t step = 0;
  for (value /= 1000; std::abs(value) >= 1000; value /= 1000) ++step;
  std::snprintf(text, sizeof text, "%.6g%s", value, kSuffix[step]);
  return text;
}

std::string to_svg(const Chart& chart) {
  const auto [x_low, x_high] = range(chart, false, false);
  auto [y_low, y_high] = range(chart, true, true);
  y_low = chart.y_min.value_or(y_low);
  y_high = chart.y_max.value_or(y_high);
  if (!(y_low < y_high) || (chart.log_y && y_low <= 0))
    throw Error(Exit::usage, "--y-min ", y_low, ", --y-max ", y_high,
                ": no range that can be drawn");
  const Scale x{x_low, x_high, kLeft, kWidth - kRight, chart.log_x};
  const Scale y{y_low, y_high, kHeight - kBottom, kTop, chart.log_y};
  const double height = kHeight + kLegendLine * static_cast<double>(chart.curves.size());
  std::string text =
      concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", number(kWidth), "\" height=\"",
             number(height), "\" viewBox=\"0 0 ", number(kWidth), " ", number(height),
             "\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>",
             cli::xml_text(chart.title),
             "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
             "<clipPath id=\"frame\"><rect x=\"", number(kLeft), "\" y=\"", number(kTop),
             "\" width=\"", number(kWidth - kLeft - kRight), "\" height=\"",
             number(kHeight - kTop - kBottom), "\"/></clipPath>\n");
  text += label((kLeft + kWidth - kRight) / 2, 24, "text-anchor=\"middle\" font-size=\"15\"",
                chart.title);
  text += draw_axes(chart, x, y);
  for (size_t i = 0; i < chart.curves.size(); ++i) text += draw_curve(chart, i, x, y);
  return text + draw_legend(chart) + "</svg>\n";
}

}  // namespace lact::bench
