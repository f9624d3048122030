#include <lact/train/trainer.hpp>
#include <lact/units.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace lact::train {
namespace {

std::string as_json(const Cost& cost) {
  nlohmann::ordered_json values = {{"parameters", cost.parameters},
                                   {"tokens_per_step", cost.tokens},
                                   {"flops_per_step", cost.flops},
                                   {"memory_bytes", cost.memory_bytes}};
  if (cost.write_strength) values["write_strength"] = *cost.write_strength;
  for (const auto& [name, value] : cost.rows) values["sizes"][name] = value;
  if (!cost.processes.empty()) values["process"] = cost.processes;
  return values.dump(2) + "\n";
}

}  // namespace

std::string describe(const Cost& cost, bool json) {
  if (json) return as_json(cost);
  auto rows = cost.rows;
  rows.emplace_back("parameters", count_text(static_cast<double>(cost.parameters)));
  rows.emplace_back("tokens per step", std::to_string(cost.tokens));
  rows.emplace_back("FLOPs per step", count_text(cost.flops) + "FLOP");
  rows.emplace_back("memory (estimate)", bytes_text(cost.memory_bytes));
  if (cost.write_strength) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", *cost.write_strength);
    rows.emplace_back("write strength, fresh", text);
  }
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  std::string text;
  for (const auto& [name, value] : rows)
    text += name + std::string(width + 2 - name.size(), ' ') + value + "\n";
  return text;
}

}  // namespace lact::train
