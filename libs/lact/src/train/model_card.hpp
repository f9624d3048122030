#pragma once
// README.md of a model directory: what its run can say of it, and what only its author can.

#include <cstdint>
#include <map>
#include <string>

namespace lact::train {

struct ModelCard {
  std::string modality, optimizer, dtype, data;
  int64_t parameters = 0, steps = 0, tokens = 0;
  uint64_t seed = 0;
  std::map<std::string, double> validation;  ///< of the last evaluation; Task::evaluate's keys
};

/// Markdown with the header that model hubs read. Paths and host names are not in it.
std::string to_markdown(const ModelCard& card);

}  // namespace lact::train
