#include "resolved.hpp"

#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>
#include <lact/train/run_config.hpp>
#include <lact/train/trainer.hpp>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <filesystem>

namespace lact::train {
namespace {

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto all = std::filesystem::absolute(path, error);
  return error ? path : all.lexically_normal().string();
}

template <class Number>
Number stored_number(const std::string& stored, const char* key, const std::string& run) {
  const auto text = config_value(stored, key);
  Number value{};
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || text.empty())
    throw Error(Exit::data, run, "/run.toml: ", key, ": expected a number, found '", text, "'");
  return value;
}

std::string stored_word(const std::string& stored, const char* key, const std::string& run) {
  auto text = config_value(stored, key);
  if (text.empty()) throw Error(Exit::data, run, "/run.toml: ", key, ": missing");
  return text;
}

}  // namespace

Resolved resolve(const cli::Context& context, const std::string& auto_dtype) {
  Resolved now;
  now.device = context.device.str();
  now.dtype = ops::dtype_name(
      ops::resolve_dtype(context.dtype == "auto" ? auto_dtype : context.dtype, context.device));
  now.threads = context.threads > 0 ? context.threads : at::get_num_threads();
  now.seed = context.seed.value_or(kDefaultSeed);
  return now;
}

Resolved resolved_before(const cli::Context& context, const std::string& stored,
                         const std::string& run) {
  Resolved before;
  before.device = stored_word(stored, "device", run);
  before.dtype = stored_word(stored, "dtype", run);
  before.threads = std::max(1, stored_number<int>(stored, "threads", run));
  before.seed = stored_number<uint64_t>(stored, "seed", run);
  const auto agree = [&](const char* flag, const auto& asked, const auto& kept) {
    if (asked != kept)
      throw Error(Exit::usage, flag, ": the run in ", run, " was started with ", kept, ", not ",
                  asked);
  };
  agree("--device", context.device.str(), before.device);
  if (context.dtype != "auto") agree("--dtype", context.dtype, before.dtype);
  if (context.seed) agree("--seed", *context.seed, before.seed);
  // context.threads tells what is in force, not whether it was asked for.
  const auto threads = config_value(context.resolved_config, "threads", "options");
  if (!threads.empty() && threads != "0") agree("--threads", context.threads, before.threads);
  return before;
}

std::string run_config(const cli::Context& context, const Resolved& resolved) {
  std::map<std::string, std::string> values = {{"device", quoted(resolved.device)},
                                               {"dtype", quoted(resolved.dtype)},
                                               {"threads", std::to_string(resolved.threads)},
                                               {"seed", std::to_string(resolved.seed)}};
  for (const char* of_this_start : {"output", "resume", "dry-run", "json", "quiet", "verbose"})
    values[of_this_start] = "";
  // Found from everywhere, by who goes on with the run.
  for (const char* key : {"data", "init-from"})
    if (const auto path = config_value(context.resolved_config, key, "options"); !path.empty())
      values[key] = nlohmann::json(absolute(path)).dump();
  return edit_config(context.resolved_config, values, "options");
}

}  // namespace lact::train
