// TOML of --config and of run.toml.

#include "../../libs/lact/src/cli/toml.hpp"
#include "targets.hpp"

#include <lact/train/run_config.hpp>

#include <sstream>

namespace lact::fuzz {
namespace {

std::vector<std::string> seeds() {
  return {R"(# lact-train text
learning-rate = 3e-4
steps = 270
preset = "tiny"
data = ["a.safetensors", 'b c', """d
e"""]
list = [1, 2.5, true]
no-shuffle = true
name = "\u00e9 \" \\ \t"
)",
          "a = 1\r\nb = [\n  0x1F, # c\n  -0.0,\n]\n\"q u\" = 1_000\n",
          "[table]\nx = {a = 1, b = [[]]}\nday = 1979-05-27T07:32:00Z\n[[t]]\n", "a.b.c = inf\n"};
}

void config(const std::string& bytes) {
  std::istringstream input(bytes);
  for (const auto& item : cli::read_toml(input, "f.toml"))
    for (const auto& value : item.values) {
      if (!cli::is_utf8(value)) throw std::logic_error("not UTF-8: " + value);
      std::istringstream again("k = " + cli::toml_value(value) + "\n");
      const auto items = cli::read_toml(again, "again");
      if (items.size() != 1 || items[0].values != std::vector<std::string>{value})
        throw std::logic_error("written and read again it is another value: " + value);
    }
}

void run(const std::string& bytes) {
  const auto edited = train::edit_config(
      bytes, {{"steps", "5"}, {"data", ""}, {"list", "[1]"}, {"fresh", "\"x\""}}, "run.toml");
  if (train::config_value(edited, "steps", "edited") != "5")
    throw std::logic_error("an edited value is not there");
  if (!train::config_value(edited, "data", "edited").empty())
    throw std::logic_error("a dropped value is there");
  use(edited.data(), edited.size());
  for (const auto& line : train::contradictions(bytes, edited)) use(line.data(), line.size());
}

}  // namespace

std::vector<Target> config_targets() {
  const std::vector<std::string> words = {"\"\"\"", "'''", "[[",    "]]",         " = ", "\\u00e9",
                                          "0x",     "inf", "false", "1979-05-27", "\n",  "_"};
  return {{"config-toml", seeds, config, {Exit::config}, words},
          {"run-toml", seeds, run, {Exit::data}, words}};
}

}  // namespace lact::fuzz
