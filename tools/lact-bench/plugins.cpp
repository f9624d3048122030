#include <lact/plugin/host.hpp>

#include "commands.hpp"

#include <nlohmann/json.hpp>

namespace lact::bench {
namespace {

std::string as_json(const std::vector<plugin::Found>& all) {
  auto rows = nlohmann::ordered_json::array();
  for (const auto& one : all)
    rows.push_back({{"file", one.file.string()},
                    {"name", one.name},
                    {"summary", one.summary},
                    {"usable", one.refusal.empty()},
                    {"refusal", one.refusal}});
  const nlohmann::ordered_json document{
      {"abi", LACT_PLUGIN_ABI}, {"build", LACT_BUILD_STAMP}, {"plugins", rows}};
  const auto bad_bytes = nlohmann::ordered_json::error_handler_t::replace;
  return document.dump(2, ' ', false, bad_bytes) + "\n";
}

std::string as_text(const std::vector<plugin::Found>& all) {
  std::string text =
      concat("this program: interface ", LACT_PLUGIN_ABI, ", ", LACT_BUILD_STAMP, "\n");
  for (const auto& one : all) {
    text += one.file.string() + "\n";
    text += one.refusal.empty() ? concat("  ", one.name, ": ", one.summary, "\n")
                                : concat("  left out: ", one.refusal, "\n");
  }
  if (all.empty()) text += "no plugin files; see --plugin-dir and LACT_PLUGIN_PATH\n";
  return text;
}

class Plugins final : public plugin::Command {
 public:
  void declare(cli::Options) override {}

  void run(cli::Context& context) override {
    const auto all = plugin::list(context.plugin_dir);
    cli::out(context.json ? as_json(all) : as_text(all));
  }
};

}  // namespace

std::unique_ptr<plugin::Command> plugins_command() {
  return std::make_unique<Plugins>();
}

}  // namespace lact::bench
