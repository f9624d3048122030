// Options and configuration files, from outside.

#include <lact/cli/nearest.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <CLI/Version.hpp>

#include <algorithm>
#include <fstream>

namespace lact::test {
namespace {

// CLI11 changed its words between Debian 12 and 13.
const std::string kRange = CLI11_VERSION_MINOR < 3 ? "0 to 100" : "[0 - 100]";
const std::string kHint = "; try 'lact-probe options --help'\n";

Result options(std::vector<std::string> more, const std::string& input = {}) {
  more.insert(more.begin(), {(build_root() / "tests/cli/lact-probe").string(), "options"});
  return run(more, input);
}

/// What `lact-probe options --config -` says to a file.
Result config(const std::string& text, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--config", "-"});
  return options(more, text);
}

bool starts(const std::string& text, const std::string& with) {
  return text.rfind(with, 0) == 0;
}

}  // namespace

TEST_CASE("values come from defaults, then the file, then the command line") {
  CHECK(starts(options({}).out, "text=initial count=7 list= files= "));
  const std::string file = "text = \"filed\"\ncount = 9\nlist = [\"a\", \"b c\"]\n";
  CHECK(starts(config(file).out, "text=filed count=9 list=a;b c; files= "));
  CHECK(starts(config(file, {"--count", "3"}).out, "text=filed count=3 list=a;b c; "));
  CHECK(starts(config(file, {"--list", "z"}).out, "text=filed count=9 list=z; "));
}

TEST_CASE("a wrong command line is 64, one line, and says where help is") {
  struct Case {
    std::vector<std::string> arguments;
    std::string message;
  };
  const std::vector<Case> cases{
      {{"--cuont", "3"}, "unknown option --cuont; did you mean --count?"},
      {{"--cuont", "3", "--count", "x"}, "unknown option --cuont; did you mean --count?"},
      {{"--cout=3"}, "unknown option --cout; did you mean --count?"},
      {{"--pritn-config"}, "unknown option --pritn-config; did you mean --print-config?"},
      {{"--entirely-other"}, "unknown option --entirely-other"},
      {{"--count", "101"}, "--count: Value 101 not in range " + kRange},
      {{"--count", "many"}, "--count: Value many not in range " + kRange},
      {{"--count"}, "--count: a value is missing"},
      {{"--seed", "-2"}, "--seed: expected a whole number from 0 to 2^64 - 1, found '-2'"},
      {{"--device", "tpu"}, "--device: expected cpu, cuda, cuda:N or auto, found 'tpu'"},
  };
  for (const auto& one : cases) {
    const auto result = options(one.arguments);
    CHECK(result.exit == 64);
    const bool hinted = one.arguments[0] != "--device" && one.message.back() != '?';
    CHECK(result.err == "lact-probe: error: " + one.message + (hinted ? kHint : "\n"));
    CHECK(result.out.empty());
  }
}

TEST_CASE("a wrong file is 78 and names file, line and key") {
  struct Case {
    std::string text, message;
  };
  const std::vector<Case> cases{
      {"text = \"a\"\n\ncuont = 3\n", "3: unknown key 'cuont'; did you mean count?\n"},
      {"thread = 3\n", "1: unknown key 'thread'; did you mean threads?\n"},
      {"conifg = 3\n", "1: unknown key 'conifg'\n"},  // --config is no key
      {"FILE = \"a\"\n", "1: unknown key 'FILE'"},
      {"options = true\n", "1: unknown key 'options'"},
      {"config = \"other.toml\"\n", "1: 'config' is for the command line only"},
      {"help = true\n", "1: 'help' is for the command line only"},
      {"text = \"a\"\nalias = \"b\"\n", "2: 'alias' is another name of a key given before"},
      {"json = 3.5\n", "1: 'json': expected true or false"},
      {"json = [true]\n", "1: 'json': expected true or false"},
      {"\ncount = [1, 2]\n", "2: 'count': expected one value, found a list"},
      {"list = [[1], [2]]\n", "1: list: expected a string, number"},
      {"[section]\ncount = 3\n", "1: section: expected a string, number"},
      {"text = 1979-05-27\n", "1: text: expected a string, number"},
      {"text = \"a\"\ncount = 101\n", "2: --count: Value 101 not in range " + kRange},
      {"count = \"many\"\n", "1: --count: Value many not in range " + kRange},
      {"# a\ntext = \"unterminated\ncount = 3\n", "2:"},
      {"count = 3\ncount = 4\n", "2:"},
      {"count\n", "1:"},
      {"text = \"\xff\"\n", "1:"},
  };
  for (const auto& one : cases) {
    const auto result = config(one.text);
    CAPTURE(one.text, result.err);
    CHECK(result.exit == 78);
    CHECK(starts(result.err, "lact-probe: error: stdin:" + one.message));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
}

TEST_CASE("an edit is a letter more, less or other, or two neighbours exchanged") {
  // Worked by hand.
  CHECK(cli::edit_distance("", "abc") == 3);
  CHECK(cli::edit_distance("modle", "model") == 1);
  CHECK(cli::edit_distance("kitten", "sitting") == 3);
  CHECK(cli::edit_distance("ca", "abc") == 3);  // no place touched twice
  CHECK(cli::edit_distance("same", "same") == 0);
}

TEST_CASE("the nearest of several is suggested, and nothing that is another word") {
  const std::vector<std::string> words{"encode", "decode", "info", "train"};
  CHECK(cli::nearest("ecode", words) == "encode");
  CHECK(cli::nearest("deocde", words) == "decode");
  CHECK(cli::nearest("rain", words) == "train");
  CHECK(cli::nearest("inof", words) == "info");
  CHECK(cli::nearest("dance", words).empty());
  CHECK(cli::nearest("x", words).empty());
  CHECK(cli::nearest("", words).empty());
  CHECK(cli::did_you_mean("--modle", {"--data", "--model"}) == "; did you mean --model?");
  CHECK(cli::did_you_mean("opera", words, "; try another") == "; try another");
}

TEST_CASE("a file that is not there is 66") {
  const auto result = options({"--config", "/nowhere/run.toml"});
  CHECK(result.exit == 66);
  CHECK(result.err == "lact-probe: error: /nowhere/run.toml: cannot read the configuration file\n");
}

TEST_CASE("help answers whatever the file says") {
  const auto result = config("broken", {"--help"});
  CHECK(result.exit == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("--list TEXT") != std::string::npos);
  CHECK(result.out.find("--device DEVICE") != std::string::npos);
}

TEST_CASE(
    "an option of several values takes one at a time and leaves the rest to the positionals") {
  CHECK(options({"--list", "a", "f", "--list", "[b,c]"}).out.find("list=a;[b,c]; files=f; ") !=
        std::string::npos);
  CHECK(options({"f", "-", "--list=a"}).out.find("list=a; files=f;-; ") != std::string::npos);
  CHECK(options({"--", "-f"}).out.find("files=-f; ") != std::string::npos);
}

TEST_CASE("of several values for one option the last counts, and an empty one is a value") {
  CHECK(starts(options({"--count", "1", "--count", "2"}).out, "text=initial count=2 "));
  CHECK(starts(options({"--text=", "--count", "2"}).out, "text= count=2 "));
  CHECK(starts(options({"--text", "--count"}).out, "text=--count count=7 "));
}

TEST_CASE("common options may stand before the words") {
  const auto program = (build_root() / "tests/cli/lact-probe").string();
  const auto result = run({program, "-v", "--seed", "5", "--threads=1", "options", "--count", "2"});
  CHECK(result.exit == 0);
  CHECK(result.out.find("count=2") != std::string::npos);
  CHECK(result.out.find("threads=1 seed=5 device=cpu dtype=auto") != std::string::npos);
  const auto joined = run({program, "-qs7", "--dtype", "float32", "options", "--count", "3"});
  CHECK(joined.out.find("seed=7 device=cpu dtype=float32") != std::string::npos);
  CHECK(run({program, "--help", "options"}).out.find("--count") != std::string::npos);
}

TEST_CASE("threads default to the processors this process may use") {
  const auto program = (build_root() / "tests/cli/lact-probe").string();
  CHECK(run({"taskset", "-c", "0", program, "options"}).out.find(" threads=1 ") !=
        std::string::npos);
  CHECK(options({"--threads", "3"}).out.find(" threads=3 ") != std::string::npos);
}

TEST_CASE("a device that is not there is 69") {
  const auto result = options({"--device", "cuda:63"});
  CHECK(result.exit == 69);
  CHECK(starts(result.err, "lact-probe: error: --device cuda:63: this machine"));
}

TEST_CASE("print-config is a file that config reads, and says what is not given") {
  const auto printed = options({"--text", "a\"b", "--list", "1", "-v", "-v", "--print-config"}).out;
  CHECK(printed.find("\ntext = \"a\\\"b\"\n") != std::string::npos);
  CHECK(printed.find("\nlist = [1]\n") != std::string::npos);
  CHECK(printed.find("\ncount = 7\n") != std::string::npos);
  CHECK(printed.find("\nverbose = 2\n") != std::string::npos);
  CHECK(printed.find("\n# seed =\n") != std::string::npos);
  for (const char* never : {"FILE", "help", "version", "config =", "plugin-dir"})
    CHECK(printed.find(never) == std::string::npos);
  CHECK(config(printed, {"--print-config"}).out == printed);
}

TEST_CASE("print-config answers before required arguments are given, as a file to begin with") {
  const auto result = run({"lact-bench", "plot", "--log-y", "--print-config"});
  CHECK(result.exit == 0);
  CHECK(result.out.find("\nlog-y = true\n") != std::string::npos);
  CHECK(run({"lact-bench", "plot", "--log-y"}).exit == 64);
}

}  // namespace lact::test
