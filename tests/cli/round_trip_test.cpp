// Property: whatever the options were, resolved_config read by --config gives the same values.

#include <lact/cli/run.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
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
  bool on = false, shuffle = true;

  bool operator==(const Values&) const = default;
};

/// Parses into fresh values; `config` receives the resolved text.
Values parsed(const std::vector<std::string>& arguments, std::string* config = nullptr) {
  Values values;
  CLI::App app;
  cli::Context context;
  app.add_option("--text", values.text);
  app.add_option("--list", values.list);
  app.add_option("--maybe", values.maybe);
  app.add_option("--whole", values.whole);
  app.add_option("--real", values.real);
  app.add_flag("--level", values.level);
  app.add_flag("--on", values.on);
  app.add_flag("!--no-shuffle", values.shuffle);
  cli::common_options(app, context);
  cli::parse(app, {"test", {}, arguments}, context);
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

TEST_CASE("defaults are written as they stand after parsing, and not where digits would be lost") {
  double exact = 0.0003, cut = 0.123456789;
  int64_t preset = 64;
  CLI::App app;
  cli::Context context;
  app.add_option("--exact", exact);
  app.add_option("--cut", cut);
  app.add_option("--preset", preset);
  app.add_flag_callback("--large", [&] { preset = 512; });
  cli::common_options(app, context);
  cli::parse(app, {"test", {}, {"--large"}}, context);
  CHECK(context.resolved_config.find("\nexact = 0.0003\n") != std::string::npos);
  CHECK(context.resolved_config.find("\n# cut = 0.123457\n") != std::string::npos);
  CHECK(context.resolved_config.find("\npreset = 512\n") != std::string::npos);
}

TEST_CASE("the default of an option that excludes others is no live line") {
  int a = 1, b = 2;
  CLI::App app;
  cli::Context context;
  app.add_option("--a", a)->excludes(app.add_option("--b", b));
  cli::common_options(app, context);
  cli::parse(app, {"test", {}, {"--b", "5"}}, context);
  CHECK(context.resolved_config.find("\n# a = 1\n") != std::string::npos);
  CHECK(context.resolved_config.find("\nb = 5\n") != std::string::npos);
}

TEST_CASE("bytes that are not UTF-8 become a comment, never a broken file") {
  std::string config;
  const auto bytes =
      GENERATE(as<std::string>{}, "\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80");
  CHECK(parsed({"--text", bytes}, &config).text == bytes);
  CHECK(config.find("\n# text is not UTF-8 and cannot be written here\n") != std::string::npos);
}

}  // namespace lact::test
