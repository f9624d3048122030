#pragma once
// What a run's results depend on beside its options: found out once, at its start, kept on resume.

#include <lact/cli/run.hpp>

#include <cstdint>
#include <string>

namespace lact::train {

struct Resolved {
  std::string device, dtype;
  int threads = 0;
  uint64_t seed = 0;
};

/// For a new run: what was asked for, measured where "auto" is left.
Resolved resolve(const cli::Context& context, const std::string& auto_dtype);

/// What the run was started with, from its run.toml.
/// Errors   64 if an option asks for something else, 65 if run.toml lacks it; both name `run`
Resolved resolved_before(const cli::Context& context, const std::string& stored,
                         const std::string& run);

/// run.toml: the options with what was resolved, without those of this start alone.
std::string run_config(const cli::Context& context, const Resolved& resolved);

}  // namespace lact::train
