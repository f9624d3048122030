// Property: whatever the options were, resolved_config read by --config gives the same values.

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <nlohmann/json.hpp>

#include <fstream>
#include <optional>
#include <random>

namespace lact::test {
namespace {

struct Values {
  std::string text = "default";
  std::vector<std::string> list;
  std::optional<std::string> maybe;
  int64_t whole = 3;
  double real = 0.25;
  int level = 0;
  bool on = false, shuffle = true, truth = false;

  bool operator==(const Values&) const = default;
};

/// Parses into fresh values; `config` receives the resolved text.
Values parsed(const std::vector<std::string>& arguments, std::string* config = nullptr) {
  Values values;
  cli::CommandLine line;
  cli::Context context;
  auto options = line.options();
  options.add("--text", values.text, "");
  options.add("--list", values.list, "");
  options.add("--maybe", values.maybe, "");
  options.add("--whole", values.whole, "");
  options.add("--real", values.real, "");
  options.flag("--level", values.level, "");
  options.flag("--on", values.on, "");
  options.flag("!--no-shuffle", values.shuffle, "");
  options.add("--truth", values.truth, "");
  line.parse({"test", {}, arguments}, context);
  if (config != nullptr) *config = context.resolved_config;
  return values;
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }

  /// Pieces that have a meaning to TOML, to CLI11 or to a reader of UTF-8. No NUL: argv has none.
  std::string text() {
    static const std::vector<std::string> pieces{
        "\"",     "\"\"\"",  "'",      "'''",    "\\",    "\\n",        "\\u0041",
        "\n",     "\r\n",    "\t",     "#",      "=",     "[",          "]",
        ",",      "{",       "}",      "{}",     "%%",    " ",          "true",
        "false",  "nan",     "inf",    "-0",     "007",   "0x1F",       "1e5",
        "0.80",   "3e-4",    "-5",     "+7",     "1_000", "1979-05-27", "9223372036854775808",
        "a",      "key = 1", "--on",   "-",      "é",     "€",          "𝄞",
        "\u00a0", "\ufeff",  "\u2028", "\u0085", "日本",  "\x7f"};
    std::string result;
    for (int n = below(5); n > 0; --n) {
      if (below(4) == 0)
        result += static_cast<char>(1 + below(127));  // any of ASCII but NUL
      else
        result += pieces[static_cast<size_t>(below(static_cast<int>(pieces.size())))];
    }
    return result;
  }

  Values values() {
    Values values;
    values.text = text();
    for (int n = below(4); n > 0; --n) values.list.push_back(text());
    // One element "{}" is CLI11's word for an empty list, and "" for an empty optional.
    if (values.list == std::vector<std::string>{"{}"}) values.list = {"{", "}"};
    if (below(2) == 0) values.maybe = text() + "x";
    values.whole = static_cast<int64_t>(random_());
    values.real = std::ldexp(static_cast<double>(random_()), below(200) - 160);
    values.level = below(4);
    values.on = below(2) == 0;
    values.shuffle = below(2) == 0;
    values.truth = below(2) == 0;
    return values;
  }

 private:
  std::mt19937_64 random_;
};

std::vector<std::string> command_line(const Values& values) {
  char real[40];
  std::snprintf(real, sizeof real, "%.17g", values.real);
  std::vector<std::string> line{"--text", values.text, "--whole", std::to_string(values.whole),
                                "--real", real};
  for (const auto& one : values.list) line.insert(line.end(), {"--list", one});
  if (values.maybe) line.insert(line.end(), {"--maybe", *values.maybe});
  for (int i = 0; i < values.level; ++i) line.push_back("--level");
  if (values.on) line.push_back("--on");
  if (!values.shuffle) line.push_back("--no-shuffle");
  if (values.truth) line.insert(line.end(), {"--truth", "true"});
  return line;
}

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("any values survive the command line, the file and the file's file") {
  const TemporaryFolder folder;
  const auto file = folder / "run.toml";
  Generator generate(20230523);
  for (int round = 0; round < 1000; ++round) {
    const auto want = generate.values();
    std::string config, again;
    const auto typed = parsed(command_line(want), &config);
    CAPTURE(round, config);
    REQUIRE(typed == want);
    write(file, config);
    REQUIRE(parsed({"--config", file.string()}, &again) == want);
    REQUIRE(again == config);
  }
}

TEST_CASE("another reader of TOML finds the same values") {
  const TemporaryFolder folder;
  Generator generate(7);
  auto all = nlohmann::json::array();
  for (int i = 0; i < 300; ++i) {
    const auto want = generate.values();
    std::string config;
    parsed(command_line(want), &config);
    all.push_back({{"config", config},
                   {"text", want.text},
                   {"list", want.list},
                   {"whole", want.whole},
                   {"real", want.real}});
  }
  write(folder / "all.json", all.dump());
  // Numbers may be bare where their text is exact: compared as what the option makes of them.
  const auto result = run({"python3", "-c", R"(
import json, sys, tomllib
def text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)
for case in json.load(open(sys.argv[1], encoding="utf-8")):
    found = tomllib.loads(case["config"], parse_float=str)
    assert text(found["text"]) == case["text"], (found, case)
    assert [text(one) for one in found.get("list", [])] == case["list"], (found, case)
    assert int(found["whole"]) == case["whole"], (found, case)
    assert float(found["real"]) == case["real"], (found, case)
print("equal")
)",
                           (folder / "all.json").string()});
  CHECK(result.out == "equal\n");
  CHECK(result.err.empty());
}

TEST_CASE("defaults are written, but not where digits would be lost") {
  double exact = 0.0003, cut = 0.123456789;
  bool truth = true;
  std::optional<int64_t> empty;
  cli::CommandLine line;
  cli::Context context;
  auto options = line.options();
  options.add("--exact", exact, "");
  options.add("--cut", cut, "");
  options.add("--truth", truth, "");
  options.add("--empty", empty, "").initially("512");
  line.parse({"test", {}, {}}, context);
  CHECK(context.resolved_config.find("\nexact = 0.0003\n") != std::string::npos);
  CHECK(context.resolved_config.find("\n# cut = 0.123457\n") != std::string::npos);
  CHECK(context.resolved_config.find("\ntruth = true\n") != std::string::npos);
  CHECK(context.resolved_config.find("\n# empty = 512\n") != std::string::npos);
}

TEST_CASE("a file may use names of older versions, the command line may not") {
  const TemporaryFolder folder;
  const auto file = folder / "old.toml";
  write(file, "rate = 24\npreset = \"nano\"\n");
  const auto parse = [](const std::vector<std::string>& words, double& fps, std::string& preset) {
    cli::CommandLine line;
    cli::Context context;
    auto options = line.options();
    options.add("--fps", fps, "");
    options.add("--preset", preset, "").words({"tiny", "small"}).renamed("nano", "tiny");
    options.renamed("--rate", "--fps");
    options.renamed("-R", "--fps");
    line.parse({"test", {}, words}, context);
  };
  double fps = 1;
  std::string preset = "small";
  parse({"--config", file.string()}, fps, preset);
  CHECK(fps == 24);
  CHECK(preset == "tiny");
  CHECK_THROWS_WITH(parse({"--rate", "9"}, fps, preset),
                    Catch::Contains("--rate") && Catch::Contains("is called --fps now"));
  CHECK_THROWS_WITH(parse({"-R", "9"}, fps, preset), Catch::Contains("is called --fps now"));
  CHECK_THROWS_WITH(parse({"--preset", "nano"}, fps, preset),
                    Catch::Contains("nano is called tiny now"));
}

TEST_CASE("one value of an old option may have become another option") {
  const TemporaryFolder folder;
  const auto file = folder / "old.toml";
  const auto parse = [](const std::vector<std::string>& words) {
    cli::CommandLine line;
    cli::Context context;
    auto options = line.options();
    std::string learn = "unset";
    bool use = true;
    options.add("--learn", learn, "").words({"all", "none"});
    options.add("--use", use, "");
    options.renamed("--fast", "on", "--learn", "all");
    options.renamed("--fast", "off", "--learn", "none");
    options.renamed("--fast", "none", "--use", "false");
    line.parse({"test", {}, words}, context);
    return learn + (use ? "" : ", absent");
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"on", "all"}, {"off", "none"}, {"none", "unset, absent"}};
  for (const auto& [value, want] : cases) {
    write(file, "fast = \"" + value + "\"\n");
    CHECK(parse({"--config", file.string()}) == want);
  }
  CHECK_THROWS_WITH(parse({"--fast", "off"}),
                    Catch::Contains("--fast off is called --learn none now"));
  CHECK_THROWS_WITH(parse({"--fast=none"}),
                    Catch::Contains("--fast none is called --use false now"));
}

TEST_CASE("bytes that are not UTF-8 become a comment, never a broken file") {
  std::string config;
  const auto bytes =
      GENERATE(as<std::string>{}, "\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80");
  CHECK(parsed({"--text", bytes}, &config).text == bytes);
  CHECK(config.find("\n# text is not UTF-8 and cannot be written here\n") != std::string::npos);
}

}  // namespace lact::test
