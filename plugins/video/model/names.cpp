#include "names.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <utility>

namespace lact::video {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// Official, diffusers'. Order matters: what a pattern contains comes after it.
const Pairs& patterns() {
  static const Pairs table = {
      {"time_embedding.0.", "condition_embedder.time_embedder.linear_1."},
      {"time_embedding.2.", "condition_embedder.time_embedder.linear_2."},
      {"time_projection.1.", "condition_embedder.time_proj."},
      {"text_embedding.0.", "condition_embedder.text_embedder.linear_1."},
      {"text_embedding.2.", "condition_embedder.text_embedder.linear_2."},
      {"head.modulation", "scale_shift_table"},
      {"head.head.", "proj_out."},
      {".modulation", ".scale_shift_table"},
      {".norm3.", ".norm2."},  // the one with weights, before attention to the text
      {".ffn.0.", ".ffn.net.0.proj."},
      {".ffn.2.", ".ffn.net.2."},
      {".self_attn.", ".attn1."},
      {".cross_attn.", ".attn2."},
      {".o.", ".to_out.0."},
      {".q.", ".to_q."},
      {".k.", ".to_k."},
      {".v.", ".to_v."},
  };
  return table;
}

bool replace(std::string& text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  if (at == std::string::npos) return false;
  text.replace(at, from.size(), to);
  return true;
}

/// Tensors of one self attention that Wan's has not.
const std::vector<std::string>& additions() {
  static const std::vector<std::string> names = {"w0",
                                                 "w1",
                                                 "w2",
                                                 "lr_proj.",
                                                 "qk_scale",
                                                 "qk_offset",
                                                 "output_norm.",
                                                 "ttt_scale_proj.",
                                                 "momentum_proj."};
  return names;
}

/// Of a file that holds several networks, what the names of the one to use begin with: distilled
/// models come with their averages and with a critic.
std::string trained_part(const std::vector<std::string>& names) {
  for (const std::string part : {"generator_ema.", "generator.", "ema."})
    if (std::any_of(names.begin(), names.end(),
                    [&](const std::string& name) { return name.starts_with(part); }))
      return part;
  return {};
}

}  // namespace

std::string diffusers_name(const std::string& official) {
  auto name = official;
  for (const auto& [from, to] : patterns()) replace(name, from, to);
  return name;
}

std::string official_name(const std::string& stored) {
  auto name = stored;
  for (const auto* wrapper : {"_checkpoint_wrapped_module.", "_orig_mod.", "_fsdp_wrapped_module."})
    while (replace(name, wrapper, "")) {
    }
  for (bool again = true; again;) {
    again = false;
    for (const std::string start :
         {"module.", "model.", "diffusion_model.", "transformer.", "pipe.dit.", "net.", "dit."})
      if (name.starts_with(start)) {
        name.erase(0, start.size());
        again = true;
      }
  }
  for (const auto& [to, from] : patterns()) {
    const bool whole = from == "scale_shift_table" || from == "proj_out.";
    if (!whole || name.starts_with(from)) replace(name, from, to);
  }
  return name;
}

bool is_addition(const std::string& official) {
  const std::string place = ".self_attn.";
  const auto at = official.find(place);
  if (at == std::string::npos) return false;
  const auto rest = official.substr(at + place.size());
  return std::any_of(additions().begin(), additions().end(),
                     [&](const std::string& start) { return rest.starts_with(start); });
}

StoredNames::StoredNames(const io::Checkpoint& checkpoint) {
  const auto names = checkpoint.names();
  const auto part = trained_part(names);
  for (const auto& name : names) {
    if (!name.starts_with(part)) continue;
    const auto [at, fresh] = stored_.emplace(official_name(name.substr(part.size())), name);
    if (!fresh)
      throw Error(Exit::data, checkpoint.folder().string(), ": tensors ", at->second, " and ", name,
                  " are the same parameter, ", at->first);
  }
}

std::string StoredNames::find(const std::string& official) const {
  const auto found = stored_.find(official);
  return found == stored_.end() ? std::string() : found->second;
}

bool StoredNames::has_fast() const {
  return std::any_of(stored_.begin(), stored_.end(),
                     [](const auto& pair) { return is_addition(pair.first); });
}

}  // namespace lact::video
