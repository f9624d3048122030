#include <lact/cli/inspect_state.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <vector>

namespace lact::cli {
namespace {

/// Words of a tensor's name between its dots.
std::vector<std::string> words_of(const std::string& name) {
  std::vector<std::string> words;
  for (size_t begin = 0, end; begin <= name.size(); begin = end + 1) {
    end = std::min(name.find('.', begin), name.size());
    words.push_back(name.substr(begin, end - begin));
  }
  return words;
}

/// "layers.3.fast.gate" is of layer 3 and the part "fast", "sampler.recent" of "sampler",
/// "prompt.layer.3.w0" of layer 3 and "prompt".
struct Place {
  explicit Place(const std::string& name) {
    const auto words = words_of(name);
    part = words[0];
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i] != "layers" && words[i] != "layer") continue;
      layer = words[i + 1];
      if (i == 0) part = i + 2 < words.size() ? words[i + 2] : "";
      break;
    }
  }
  std::string part, layer;
};

struct Summary {
  std::map<std::string, int64_t> parts;  ///< bytes
  int64_t bytes = 0;
  std::set<std::string> layers;
};

Summary sum_up(const io::State& state) {
  Summary summary;
  for (const auto& [name, x] : state.tensors) {
    const auto bytes = static_cast<int64_t>(x.nbytes());
    const Place place(name);
    summary.parts[place.part] += bytes;
    summary.bytes += bytes;
    if (!place.layer.empty()) summary.layers.insert(place.layer);
  }
  return summary;
}

std::string as_json(const io::State& state, const Summary& summary) {
  nlohmann::ordered_json all{{"kind", "state"}};
  for (const auto& [key, value] : state.metadata) all[key] = value;
  for (const auto& key : state.counts()) all[key] = state.count(key);
  all.erase("counts");
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
    if (key != "counts") text += row(io::printable(key), io::printable(value));
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

}  // namespace lact::cli
