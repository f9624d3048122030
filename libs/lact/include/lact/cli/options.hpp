#pragma once
// The options of a command, declared by whoever uses their values, and the command line that is
// parsed into them. CLI11 does the parsing; its headers stay behind this one, because each file
// that includes them takes five seconds longer to compile.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace lact::cli {

struct Args;
struct Context;
struct WordHint;

/// An option as it is being declared.
class Option {
 public:
  /// What help calls the value. Shells complete files where that has FILE or PATH in it, folders
  /// where it has DIR.
  Option& value(const std::string& name);
  /// Other numbers are refused; help says from where to where.
  Option& range(double low, double high);
  Option& range(int64_t low, int64_t high);
  Option& range(int low, int high) { return range(int64_t{low}, int64_t{high}); }
  Option& at_least(int64_t low);
  Option& at_least(int low) { return at_least(int64_t{low}); }
  Option& at_least(double low);
  Option& positive();  ///< a number above 0
  /// Other words are refused; help and completion list these.
  Option& words(const std::vector<std::string>& words);
  Option& required();
  /// One word may hold several values, separated by commas.
  Option& separated();
  /// What help names as the default, where the variable cannot tell (an empty std::optional).
  Option& initially(const std::string& text);
  /// A word that was called otherwise before 0.1.0; see Options::renamed.
  Option& renamed(const std::string& before, const std::string& now);

 private:
  friend class CommandLine;
  friend class Options;
  struct State;
  Option(CLI::Option* option, const std::shared_ptr<State>& state);
  CLI::Option* option_;
  std::shared_ptr<State> state_;
};

/// Where options are declared: a command's, or a group of them that help lists under a title. A
/// handle: copies declare in the same place.
class Options {
 public:
  /// `names` are "-o,--output", or "FILE" for a positional. The variable holds the default, which
  /// help prints, and receives the value. An empty std::optional: not given.
  Option add(const std::string& names, std::string& variable, const std::string& help);
  Option add(const std::string& names, int& variable, const std::string& help);
  Option add(const std::string& names, int64_t& variable, const std::string& help);
  Option add(const std::string& names, double& variable, const std::string& help);
  Option add(const std::string& names, bool& variable, const std::string& help);  ///< true or false
  Option add(const std::string& names, std::optional<std::string>& variable,
             const std::string& help);
  Option add(const std::string& names, std::optional<int64_t>& variable, const std::string& help);
  Option add(const std::string& names, std::optional<double>& variable, const std::string& help);
  Option add(const std::string& names, std::optional<bool>& variable, const std::string& help);
  /// May be repeated.
  Option add(const std::string& names, std::vector<std::string>& variable, const std::string& help);
  /// Takes no value; "--bos,!--no-bos" turns it off as well.
  Option flag(const std::string& names, bool& variable, const std::string& help);
  /// Counts; turned off -1.
  Option flag(const std::string& names, int& variable, const std::string& help);

  Options group(const std::string& title) const;
  /// Text after the list of options.
  void footer(const std::string& text);
  /// An option that was called otherwise before 0.1.0 ("--rate", "--fps"): on the command line the
  /// old name is refused with the new one; in a configuration file, which outlives releases, it
  /// stands for it.
  void renamed(const std::string& before, const std::string& now);
  /// The same where only one value of it became one of another option.
  void renamed(const std::string& before, const std::string& value, const std::string& now,
               const std::string& value_now);

 private:
  friend class CommandLine;
  Options(CLI::App* app, std::shared_ptr<Option::State> state, std::string group);
  template <class Variable>
  Option declare(const std::string& names, Variable& variable, const std::string& help);
  CLI::App* app_;
  std::shared_ptr<Option::State> state_;
  std::string group_;
};

/// The command line of one command: its own options and those that all commands have.
class CommandLine {
 public:
  /// `summary`: a sentence that help begins with.
  explicit CommandLine(const std::string& summary = {});
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// Declares the command's own options; their variables must live until parse() is done.
  Options options();

  /// Parses args.rest with the common options (--device, --dtype, --threads, --seed, --json, -v,
  /// -q, --config, --print-config, --version, --plugin-dir, --completion) into `context`:
  /// configuration file first, the command line on top, unknown keys and options are errors. Sets
  /// threads and device. --help, --version and --print-config print and end the program with 0, by
  /// an exception that run() knows. Errors: 64 for the command line, 78 for the file, 69 for a
  /// device that is not there.
  ///
  /// An option that takes several values is repeated (`--y a --y b`); the last of several values of
  /// another one wins; `--name=` is an empty value.
  ///
  /// Context::resolved_config lists what was given and the variables' values *after* parsing; flags
  /// and options without a value appear as comments. So a value that depends on others (a preset)
  /// is best held in a std::optional: it is then written only if given.
  void parse(const Args& args, Context& context);
  /// Parses words into the command's own options alone. Errors: 64
  void parse(const std::vector<std::string>& words);
  /// An option of that name is declared.
  bool knows(const std::string& name) const;

  /// What --help prints, of a command called `program`. The last thing that is asked of it.
  std::string help(const std::string& program);
  /// The same for completion: options and positional, without a name. Likewise the last.
  WordHint hint();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lact::cli
