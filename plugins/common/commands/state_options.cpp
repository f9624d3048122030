#include "state_options.hpp"

#include <lact/cli/inspect_state.hpp>
#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/ops/ceiling.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace lact::commands {

void StateOptions::declare(cli::Options options, const std::string& load, const std::string& save) {
  options.add("--state", load_, load).value("FILE");
  options.add("--save-state", save_, save).value("FILE");
  options.add("--inspect-state", inspect_, "print what a state holds, and exit").value("FILE");
}

bool StateOptions::inspect(const cli::Context& context) const {
  if (inspect_.empty()) return false;
  cli::require_one_process("--inspect-state");
  cli::out(cli::inspect_state(inspect_, context.json));
  return true;
}

void StateOptions::check_folder() const {
  if (!saves() || saves_to_stdout()) return;
  auto folder = std::filesystem::path(save_).parent_path();
  if (folder.empty()) folder = ".";
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    throw Error(Exit::cannot_create, save_, ": ", std::strerror(errno));
}

std::optional<io::State> StateOptions::load() const {
  if (!loads()) return {};
  return io::load_state(load_);
}

at::ScalarType product_type(const cli::Context& context, const std::string& dtype,
                            const std::optional<io::State>& state) {
  if (!state || context.dtype != "auto") return ops::resolve_dtype(dtype, context.device);
  const auto& name = state->value("dtype");
  for (const auto type : {at::kFloat, at::kBFloat16})
    if (name == ops::dtype_name(type)) return type;
  throw Error(Exit::data, state->name, ": computed in ", io::printable(name),
              ", which this program cannot");
}

}  // namespace lact::commands
