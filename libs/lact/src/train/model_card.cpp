#include <lact/plugin/stamp.h>
#include <lact/error.hpp>

#include "model_card.hpp"

#include <cstdio>

namespace lact::train {
namespace {

std::string rounded(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

}  // namespace

std::string to_markdown(const ModelCard& card) {
  std::string rows;
  const auto row = [&](const std::string& what, const auto& value) {
    rows += concat("| ", what, " | ", value, " |\n");
  };
  row("parameters", card.parameters);
  row("trained", concat(card.steps, " steps, ", card.tokens, " tokens"));
  row("optimizer", card.optimizer);
  row("products in", card.dtype);
  row("seed", card.seed);
  if (!card.data.empty()) row("data (XXH3-128 of their checksums)", card.data);
  for (const auto& [name, value] : card.validation)
    row(concat("validation ", name.substr(name.find('/') + 1)), rounded(value));
  return concat(
      "---\nlibrary_name: lact\ntags:\n- lact\n- test-time-training\n- ", card.modality,
      "\n---\n\nA ", card.modality,
      " model of large-chunk test-time training (LaCT, arXiv 2505.23884), written by "
      "lact-train ",
      LACT_VERSION, ".\n\n| | |\n| --- | --- |\n", rows,
      "\nlact's programs take this folder as `--model`.\n\nWhat only you know, and should "
      "say before you publish it: what the data are and their licence, what\nthe model "
      "is for, what it cannot do.\n");
}

}  // namespace lact::train
