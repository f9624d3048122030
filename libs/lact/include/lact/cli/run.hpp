#pragma once
// What all lact programs have in common: arguments, options, configuration file, streams, signals,
// progress and exit codes.

#include <lact/error.hpp>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::cli {

/// The command line: leading words (modality, verb) and everything else. Common options that stand
/// before the words (`lact-train -v text`) are moved behind them.
struct Args {
  std::string program;
  std::vector<std::string> words;  ///< positionals before the first option
  std::vector<std::string> rest;   ///< what is parsed; whoever takes the leading words moves the
                                   ///< others here (plugin::take_word does)
};

/// A name that changed before 0.1.0: of an option (values empty), or of one of its values.
struct Renamed {
  std::string key, now;  ///< without dashes; `now` empty: the key stays
  std::string value, value_now;
};

/// What a verb works with. Filled by CommandLine::parse().
struct Context {
  std::string program;  ///< "lact-generate text"
  c10::Device device{c10::kCPU};
  std::string dtype = "auto";    ///< "auto", "float32" or "bfloat16"; see ops::resolve_dtype
  int threads = 0;               ///< in force: at::get_num_threads()
  std::optional<uint64_t> seed;  ///< as given; nothing given: the verb's own default
  bool json = false;             ///< machine-readable results
  bool quiet = false;
  int verbose = 0;

  std::string plugin_dir;  ///< as given

  /// Every option as it stands after parsing, as TOML that --config reads back.
  std::string resolved_config;
  /// What older files call otherwise.
  std::vector<Renamed> renamed;
};

/// Runs `body` and turns what it throws into one line on stderr and an exit code: lact::Error its
/// own, bad allocation 71, c10::Error and all else 70. Data goes to stdout, which is flushed and
/// checked at the end. A reader that went away (SIGPIPE) ends the program as it ends cat.
/// `--version` alone is handled here.
int run(const char* program, int argc, char** argv, const std::function<void(Args&)>& body);

/// Thrown by CommandLine::parse() when --help, --version or --print-config has said all; run()
/// answers 0.
struct Finished {};

/// Asked to stop by SIGINT or SIGTERM. The first signal only sets this; a second one ends the
/// program at once. Verbs poll it, tidy up, and throw Interrupted. Until the first poll there is
/// nobody to tidy up, and a signal ends the program as any other: poll once before work starts.
bool stop_requested();
/// The signal; 0: none came.
int stop_signal();
/// Thrown when work ended early because of a signal, after saving: exit 128 + signal.
struct Interrupted : std::exception {
  const char* what() const noexcept override;
};

/// Writes data to stdout at once. Errors: 74; a closed pipe ends the program silently.
void out(std::string_view data);

/// "lact-train 0.1.0 (LibTorch 2.11.0)"
std::string version_line(const std::string& program);

/// A progress line on the terminal (count, rate, time left), silent in a pipe.
class Progress {
 public:
  /// `total` 0: unknown. `unit` is what is counted: "tokens", "MB".
  Progress(std::string what, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Cheap: redraws at most ten times a second. Any thread.
  void set(double done, std::string_view note = {});

 private:
  std::string what_, unit_;
  double total_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point start_, drawn_;
};

}  // namespace lact::cli
