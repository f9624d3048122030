#include <lact/error.hpp>
#include <lact/train/trainer.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace lact::train {
namespace {

/// 1234567 -> "1.23 M".
std::string scaled(double value, const char* unit, double base) {
  constexpr const char* kPrefix[] = {"", "k", "M", "G", "T", "P", "E"};
  constexpr const char* kBinary[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  size_t step = 0;
  for (; value >= base && step + 1 < std::size(kPrefix); ++step) value /= base;
  char text[64];
  const char* prefix = base == 1024 ? kBinary[step] : kPrefix[step];
  std::snprintf(text, sizeof text, step == 0 ? "%.0f %s%s" : "%.2f %s%s", value, prefix, unit);
  std::string line = text;
  while (line.back() == ' ') line.pop_back();
  return line;
}

std::string as_json(const Cost& cost) {
  nlohmann::ordered_json values = {{"parameters", cost.parameters},
                                   {"tokens_per_step", cost.tokens},
                                   {"flops_per_step", cost.flops},
                                   {"memory_bytes", cost.memory_bytes}};
  for (const auto& [name, value] : cost.rows) values["sizes"][name] = value;
  return values.dump(2) + "\n";
}

}  // namespace

std::string describe(const Cost& cost, bool json) {
  if (json) return as_json(cost);
  auto rows = cost.rows;
  rows.emplace_back("parameters", scaled(static_cast<double>(cost.parameters), "", 1000));
  rows.emplace_back("tokens per step", std::to_string(cost.tokens));
  rows.emplace_back("FLOPs per step", scaled(cost.flops, "FLOP", 1000));
  rows.emplace_back("memory (estimate)", scaled(cost.memory_bytes, "B", 1024));
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  std::string text;
  for (const auto& [name, value] : rows)
    text += name + std::string(width + 2 - name.size(), ' ') + value + "\n";
  return text;
}

}  // namespace lact::train
