#include "inspect.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace lact::text {
namespace {

/// "layers.3.fast.gate" is of the part "fast", "sampler.recent" of "sampler".
std::string part_of(const std::string& name) {
  std::string rest = name;
  if (rest.rfind("layers.", 0) == 0)
    rest = rest.substr(std::min(rest.size(), rest.find('.', 7) + 1));
  return rest.substr(0, rest.find('.'));
}

struct Summary {
  std::map<std::string, int64_t> parts;  ///< bytes
  int64_t bytes = 0;
  std::set<std::string> layers;
};

Summary sum_up(const io::State& state) {
  Summary summary;
  for (const auto& [name, x] : state.tensors) {
    const auto bytes = static_cast<int64_t>(x.nbytes());
    summary.parts[part_of(name)] += bytes;
    summary.bytes += bytes;
    if (name.rfind("layers.", 0) == 0) summary.layers.insert(name.substr(7, name.find('.', 7) - 7));
  }
  return summary;
}

std::string as_json(const io::State& state, const Summary& summary) {
  nlohmann::ordered_json all{{"kind", "state"}};
  for (const auto& [key, value] : state.metadata) all[key] = value;
  // A count is a number.
  const auto tokens = state.metadata.find("tokens");
  if (tokens != state.metadata.end() && !tokens->second.empty() && tokens->second.size() < 19 &&
      tokens->second.find_first_not_of("0123456789") == std::string::npos)
    all["tokens"] = std::stoll(tokens->second);
  all["layers"] = summary.layers.size();
  all["bytes"] = summary.bytes;
  all["parts"] = summary.parts;
  for (const auto& [name, x] : state.tensors)
    all["tensors"][name] = {{"dtype", c10::toString(x.scalar_type())}, {"shape", x.sizes().vec()}};
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string row(const std::string& key, const std::string& value) {
  const size_t pad = key.size() < 18 ? 20 - key.size() : 2;
  return key + std::string(pad, ' ') + value + "\n";
}

std::string as_text(const io::State& state, const Summary& summary) {
  std::string text = row("kind", "state");
  for (const auto& [key, value] : state.metadata)
    text += row(io::printable(key), io::printable(value));
  text += row("layers", std::to_string(summary.layers.size()));
  text += row("bytes", std::to_string(summary.bytes));
  for (const auto& [part, bytes] : summary.parts)
    text += row("  " + io::printable(part), std::to_string(bytes));
  return text;
}

}  // namespace

std::string inspect_state(const std::filesystem::path& file, bool json) {
  const auto state = io::load_state(file);
  const auto summary = sum_up(state);
  return json ? as_json(state, summary) : as_text(state, summary);
}

}  // namespace lact::text
