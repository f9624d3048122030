#include <lact/cli/completion.hpp>
#include <lact/cli/nearest.hpp>
#include <lact/cli/options.hpp>
#include <lact/log.hpp>

#include "internal.hpp"
#include "toml.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

namespace lact::cli {
namespace {

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}
bool is_list(const CLI::Option& option) {
  return option.get_items_expected_max() > 1;
}
bool given(const CLI::App& app, const std::string& name) {
  const auto* option = app.get_option_no_throw(name);
  return option != nullptr && option->count() > 0;
}

bool is_flag_value(const std::string& text) {
  if (text == "true" || text == "false") return true;
  return !text.empty() && text.size() < 10 &&
         text.find_first_not_of("0123456789") == std::string::npos;
}

/// Reads --config; CLI11 asks it for the items and lays the command line over them.
class TomlConfig final : public CLI::Config {
 public:
  TomlConfig(CLI::App& app, const std::vector<Renamed>& renamed) : app_(app), renamed_(renamed) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    if (given(app_, "--help") || given(app_, "--version"))
      return {};  // these answer before any file
    file_ = app_.get_config_ptr()->results().back();
    if (file_ == "-" || file_ == "/dev/stdin") file_ = "stdin";  // CLI11 2.4 writes it out
    std::vector<CLI::ConfigItem> items;
    for (auto& item : read_toml(input, file_)) {
      translate(item);
      check(item);
      // "{}" is CLI11's word for a list without elements.
      if (item.list && item.values.empty()) item.values = {"{}"};
      items.push_back({{}, item.key, std::move(item.values)});
    }
    return items;
  }

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }

  /// "FILE:LINE" where the option got its value from the file, else "".
  std::string origin(const CLI::Option& option) const {
    const auto found = lines_.find(&option);
    const auto& typed = app_.parse_order();
    if (found == lines_.end() || std::count(typed.begin(), typed.end(), &option) > 0) return {};
    return concat(file_, ":", found->second);
  }

 private:
  /// A file outlives releases: what it calls by an older name is what that name meant.
  void translate(TomlItem& item) const {
    for (const auto& one : renamed_) {
      if (item.key != one.key) continue;
      const bool any =
          one.value.empty() || std::count(item.values.begin(), item.values.end(), one.value) > 0;
      if (any && !one.now.empty()) item.key = one.now;
      for (auto& value : item.values)
        if (!one.value.empty() && value == one.value) value = one.value_now;
    }
  }

  void check(const TomlItem& item) const {
    const std::string where = concat(file_, ":", item.line, ": ");
    const auto* option = app_.get_option_no_throw("--" + item.key);
    if (option == nullptr && item.key.size() == 1)
      option = app_.get_option_no_throw("-" + item.key);
    if (option == nullptr)
      throw Error(Exit::config, where, "unknown key '", item.key, "'",
                  did_you_mean(item.key, keys()));
    if (!option->get_configurable())
      throw Error(Exit::config, where, "'", item.key, "' is for the command line only");
    if (!lines_.emplace(option, item.line).second)
      throw Error(Exit::config, where, "'", item.key, "' is another name of a key given before");
    if (is_flag(*option) && (item.list || !is_flag_value(item.values.at(0))))
      throw Error(Exit::config, where, "'", item.key, "': expected true or false");
    if (item.list && !is_list(*option))
      throw Error(Exit::config, where, "'", item.key, "': expected one value, found a list");
  }

  /// What a file may say, for the hint.
  std::vector<std::string> keys() const {
    std::vector<std::string> names;
    for (const auto* option : named_options(app_))
      if (option->get_configurable())
        names.insert(names.end(), option->get_lnames().begin(), option->get_lnames().end());
    return names;
  }

  CLI::App& app_;
  const std::vector<Renamed>& renamed_;
  mutable std::string file_;
  mutable std::map<const CLI::Option*, int> lines_;
};

// --- errors --------------------------------------------------------------------------------------

/// All long names, with their dashes.
std::vector<std::string> long_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* option : named_options(app))
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// What the parser left over, an unknown option or a word too many, and what helps; else "".
std::string leftover(CLI::App& app, const std::vector<Renamed>& renamed, const std::string& hint) {
  const auto rest = app.remaining();
  for (size_t i = 0; i < rest.size(); ++i) {
    const auto& word = rest[i];
    if (word.size() < 2 || word[0] != '-' || word == "--") continue;
    const auto equals = std::min(word.find('='), word.size());
    const auto name = word.substr(0, equals);
    const auto value = equals < word.size()  ? word.substr(equals + 1)
                       : i + 1 < rest.size() ? rest[i + 1]
                                             : std::string();
    for (const auto& one : renamed) {
      if (one.now.empty() || name != (one.key.size() == 1 ? "-" : "--") + one.key) continue;
      if (one.value.empty())
        return concat("unknown option ", name, "; it is called --", one.now, " now");
      if (one.value == value)
        return concat("unknown option ", name, "; ", name, " ", value, " is called --", one.now,
                      " ", one.value_now, " now");
    }
    return concat("unknown option ", name, did_you_mean(name, long_names(app), hint));
  }
  return rest.empty() ? "" : concat("unexpected argument '", rest.front(), "'", hint);
}

std::string plain(std::string what) {
  if (what.size() > 1 && std::isupper(static_cast<unsigned char>(what[0])) &&
      !std::isupper(static_cast<unsigned char>(what[1])))
    what[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(what[0])));
  return what;
}

[[noreturn]] void refuse(CLI::App& app, const std::vector<Renamed>& renamed,
                         const TomlConfig& config, const CLI::ParseError& error) {
  const std::string hint = "; try '" + app.get_name() + " --help'";
  if (const auto rest = leftover(app, renamed, hint); !rest.empty()) throw Error(Exit::usage, rest);
  if (dynamic_cast<const CLI::FileError*>(&error) != nullptr)
    throw Error(Exit::no_input, app.get_config_ptr()->results().back(),
                ": cannot read the configuration file");
  const std::string what = error.what();
  for (const auto* option : named_options(app)) {
    const auto origin = config.origin(*option);
    const bool named = (" " + what).find(" " + option->get_name()) != std::string::npos;
    if (!origin.empty() && named) throw Error(Exit::config, origin, ": ", plain(what));
  }
  if (const auto at = what.find(": 1 required "); at != std::string::npos)
    throw Error(Exit::usage, what.substr(0, at), ": a value is missing", hint);
  throw Error(Exit::usage, plain(what), hint);
}

// --- arguments -----------------------------------------------------------------------------------

/// CLI11 takes the next word for the value of `--name=`; here it is the empty string.
std::vector<std::string> split_empty_values(const CLI::App& app,
                                            const std::vector<std::string>& words) {
  std::vector<std::string> result;
  bool options = true;
  for (const auto& word : words) {
    options = options && word != "--";
    const bool ends =
        options && word.size() > 3 && word.rfind("--", 0) == 0 && word.find('=') == word.size() - 1;
    const auto* option = ends ? app.get_option_no_throw(word.substr(0, word.size() - 1)) : nullptr;
    if (option != nullptr && !is_flag(*option)) {
      result.push_back(word.substr(0, word.size() - 1));
      result.emplace_back();
    } else {
      result.push_back(word);
    }
  }
  return result;
}

/// See CommandLine::parse().
void change_habits(CLI::App& app) {
  for (auto* option : named_options(app)) {
    option->allow_extra_args(false);
    if (!is_list(*option) && !is_flag(*option) &&
        option->get_multi_option_policy() == CLI::MultiOptionPolicy::Throw)
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    if (option->get_default_str().empty()) option->capture_default_str();  // for --help
  }
}

/// Written where the option stood, so that --print-config and a run's record say which it was.
std::string random_seed() {
  std::random_device device;
  return std::to_string(uint64_t{device()} << 32 | device());
}

void set_threads(Context& context) {
  const auto cores = usable_cores();
  at::set_num_threads(context.threads > 0
                          ? context.threads
                          : static_cast<int>(std::count(cores.begin(), cores.end(), true)));
  context.threads = at::get_num_threads();
}

}  // namespace

std::vector<CLI::Option*> named_options(CLI::App& app) {
  auto options = app.get_options([](const CLI::Option* option) { return option->nonpositional(); });
  for (auto* group :
       app.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); }))
    for (auto* option : named_options(*group)) options.push_back(option);
  return options;
}

// --- common options ------------------------------------------------------------------------------

void common_options(CLI::App& app, Context& context) {
  const char* group = "Common options";
  app.set_help_flag("-h,--help", "print this help and exit")->group(group);
  app.set_version_flag("--version", version_line(log::program()), "print the version and exit")
      ->group(group);
  app.add_option(
         "--device", CLI::callback_t{},
         "device to compute on: cpu, cuda, cuda:N, or auto (cuda if there is one, else cpu)", false,
         [] { return std::string("auto"); })
      ->type_name("DEVICE")
      ->group(group);
  if (app.get_option_no_throw("--dtype") == nullptr)  // lact-bench verify has other types
    app.add_option("--dtype", context.dtype,
                   "number type of matrix products; auto: bfloat16 where a measurement shows it to "
                   "be faster, else float32")
        ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
        ->group(group);
  app.add_option("--threads", context.threads,
                 "threads for computing, 1 to 1024; 0: as many as cores this process may use")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->group(group);
  // CLI11 would take -1 for 2^64 - 1.
  const auto whole = [](const std::string& text) {
    uint64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (read.ec == std::errc() && read.ptr == end) return std::string();
    return "expected a whole number from 0 to 2^64 - 1, found '" + text + "'";
  };
  app.add_option("-s,--seed", context.seed,
                 "seed of all random numbers, 0 to 2^64 - 1; -1: a different one each time "
                 "(default: 42)")
      ->check(whole)
      ->type_name("N")
      ->transform([](const std::string& text) { return text == "-1" ? random_seed() : text; }, "",
                  "")
      ->group(group);
  app.add_flag("--json", context.json, "print results as JSON")->group(group);
  app.add_flag("-v,--verbose", context.verbose, "print more messages on stderr")->group(group);
  app.add_flag("-q,--quiet", context.quiet, "print only errors on stderr")->group(group);
  app.set_config("--config", "",
                 "read options from a TOML file, keys as the long options without dashes; the "
                 "command line takes precedence; -: stdin")
      ->type_name("FILE")
      ->transform([](std::string name) { return name == "-" ? "/dev/stdin" : name; }, "", "")
      ->group(group);
  app.add_flag("--print-config")
      ->description("print all options as a file for --config, and exit")
      ->configurable(false)
      ->group(group);
  // Read before the plugin whose options these are is loaded: see plugin::plugin_dir.
  app.add_option("--plugin-dir")
      ->description("folder to search for plugins first")
      ->configurable(false)
      ->type_name("DIR")
      ->group(group);
  // Read before all others, too: it speaks of the whole program.
  app.add_option("--completion")
      ->description("print a script that completes this program in a shell, and exit")
      ->configurable(false)
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->group(group);
  app.formatter(help_formatter());
}

c10::Device resolve_device(const std::string& name) {
  if (name == "cpu") return c10::kCPU;
  const bool indexed = name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 8 &&
                       name.find_first_not_of("0123456789", 5) == std::string::npos;
  if (name != "auto" && name != "cuda" && !indexed)
    throw Error(Exit::usage, "--device: expected cpu, cuda, cuda:N or auto, found '", name, "'");
  // The hooks answer without our linking CUDA: nobody registers them in a build without it.
  const int count = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (name == "auto") return count > 0 ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  const int index = indexed ? std::stoi(name.substr(5)) : 0;
  if (index >= count)
    throw Error(Exit::unavailable, "--device ", name, ": this ",
                count == 0 ? "machine or build has no CUDA device"
                           : concat("machine has ", count, " CUDA device(s)"));
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::vector<bool> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) == 0)
    return std::vector<bool>(std::max(1u, std::thread::hardware_concurrency()), true);
  std::vector<bool> usable;
  for (size_t core = 0; core < CPU_SETSIZE; ++core) usable.push_back(CPU_ISSET(core, &set));
  return usable;
}

// --- a command line ------------------------------------------------------------------------------

struct CommandLine::Impl {
  explicit Impl(const std::string& summary) : app(summary) {}
  CLI::App app;
  std::shared_ptr<Option::State> state = std::make_shared<Option::State>();

  /// Words into the declared options. Errors: 64, 78
  void parse(const std::vector<std::string>& given) {
    change_habits(app);
    const auto config = std::make_shared<TomlConfig>(app, state->renamed);
    app.config_formatter(config);
    auto words = split_empty_values(app, given);
    std::reverse(words.begin(), words.end());  // as CLI11 takes vectors
    try {
      app.parse(words);
    } catch (const CLI::CallForHelp&) {
      out(app.help());
      throw Finished();
    } catch (const CLI::CallForVersion& version) {
      out(std::string(version.what()) + "\n");
      throw Finished();
    } catch (const CLI::ParseError& error) {
      // A file of all options is how one begins: it may be asked for before the required ones.
      if (!cli::given(app, "--print-config") ||
          dynamic_cast<const CLI::RequiredError*>(&error) == nullptr)
        refuse(app, state->renamed, *config, error);
    }
  }
};

CommandLine::CommandLine(const std::string& summary) : impl_(std::make_unique<Impl>(summary)) {}
CommandLine::~CommandLine() = default;

Options CommandLine::options() {
  return {&impl_->app, impl_->state, ""};
}

bool CommandLine::knows(const std::string& name) const {
  return impl_->app.get_option_no_throw(name) != nullptr;
}

void CommandLine::parse(const std::vector<std::string>& words) {
  impl_->parse(words);
}

void CommandLine::parse(const Args& args, Context& context) {
  auto& app = impl_->app;
  if (context.program.empty()) context.program = args.program;
  common_options(app, context);
  app.name(context.program);
  impl_->parse(args.rest);
  context.renamed = impl_->state->renamed;
  context.resolved_config = config_text(app, context.program, impl_->state->told);
  if (given(app, "--print-config")) {
    out(context.resolved_config);
    throw Finished();
  }
  if (context.verbose > 0) log::set_level(log::Level::debug);
  if (context.quiet) log::set_level(log::Level::error);
  const auto* device = app.get_option_no_throw("--device");
  context.device = resolve_device(device->count() > 0 ? device->as<std::string>() : "auto");
  const auto* folder = app.get_option_no_throw("--plugin-dir");
  if (folder->count() > 0) context.plugin_dir = folder->results().back();
  set_threads(context);
}

std::string CommandLine::help(const std::string& program) {
  auto& app = impl_->app;
  Context context;
  common_options(app, context);
  app.name(program);
  change_habits(app);
  return app.help();
}

WordHint CommandLine::hint() {
  Context context;
  common_options(impl_->app, context);
  return {"", "", {}, option_hints(impl_->app), positional_hint(impl_->app)};
}

}  // namespace lact::cli
