#pragma once
// A line chart as SVG.

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::bench {

struct Curve {
  std::string name;                               ///< in the legend
  std::vector<std::pair<double, double>> points;  ///< finite, in the order they are joined
};

struct Chart {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  std::optional<double> y_min, y_max;
  std::vector<Curve> curves;
};

/// Curves differ by dashes and markers, not by colour alone. The same chart gives the same bytes.
std::string to_svg(const Chart& chart);

/// Marks of an axis: round numbers within [low, high], about `wanted` of them.
std::vector<double> axis_marks(double low, double high, bool log, int wanted);

/// 20000 -> "20k", 0.0003 -> "0.0003", 1e-07 -> "1e-07"
std::string axis_text(double value);

}  // namespace lact::bench
