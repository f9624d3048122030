// What is loaded, what is refused and why, from outside.

#include <lact/plugin/abi.h>
#include <lact/plugin/stamp.h>
#include <lact/error.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <nlohmann/json.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace lact::test {
namespace {

namespace fs = std::filesystem;

fs::path built(const std::string& name) {
  return build_root() / "tests/plugin" / ("lact-" + name + ".so");
}

/// A folder with copies of some of the fakes, writable by its owner alone.
struct Folder : TemporaryFolder {
  explicit Folder(const std::vector<std::string>& names) {
    for (const auto& name : names) {
      fs::copy_file(built(name), file(name));
      ::chmod(file(name).c_str(), 0755);
    }
    ::chmod(path().c_str(), 0755);
  }
  fs::path file(const std::string& name) const { return *this / ("lact-" + name + ".so"); }
};

Result bench(std::vector<std::string> words, const fs::path& folder) {
  words.insert(words.begin(), "lact-bench");
  words.insert(words.end(), {"--plugin-dir", folder.string()});
  return run(words);
}

/// The refusal of each file in `lact-bench plugins --json`, by file name.
std::map<std::string, std::string> refusals(const fs::path& folder) {
  const auto result = bench({"plugins", "--json"}, folder);
  REQUIRE(result.exit == 0);
  std::map<std::string, std::string> found;
  const auto document = nlohmann::json::parse(result.out);
  for (const auto& one : document.at("plugins")) {
    const fs::path file = one.at("file").get<std::string>();
    if (file.parent_path() == fs::canonical(folder) || file == fs::canonical(folder))
      found[file.filename()] = one.at("refusal");
  }
  return found;
}

/// Asked for by name: 69, one line with the file and the reason.
void check_refused(const Folder& folder, const std::string& name, const std::string& reason) {
  CAPTURE(name, reason);
  CHECK(refusals(folder.path())["lact-" + name + ".so"].find(reason) != std::string::npos);
  const auto result = bench({name}, folder.path());
  CHECK(result.exit == 69);
  const auto start = "lact-bench: error: " + fs::canonical(folder.path()).string() + "/lact-" +
                     name + ".so: refused: ";
  CHECK(result.err.rfind(start, 0) == 0);
  CHECK(result.err.find(reason) != std::string::npos);
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("a good plugin runs, with its words and options") {
  const Folder folder({"good"});
  const auto result = bench({"good", "one", "two", "--pitch", "220"}, folder.path());
  CHECK(result.err.empty());
  CHECK(result.out == "lact-bench good [] one two at 220\n");
  CHECK(result.exit == 0);
  CHECK(refusals(folder.path()) == std::map<std::string, std::string>{{"lact-good.so", ""}});
}

TEST_CASE("what a plugin was built for is compared before it is used, and the refusal says both") {
  const Folder folder({"abi", "stamp", "misnamed"});
  check_refused(folder, "abi",
                concat("built for plugin interface 4711, this program has ", LACT_PLUGIN_ABI));
  check_refused(folder, "stamp",
                "built for 'gcc-abi-1 libtorch-1.13.0', this program has '" LACT_BUILD_STAMP "'");
  check_refused(folder, "misnamed", "it calls itself 'other', its file name says 'misnamed'");
}

TEST_CASE("a file that is no plugin is refused") {
  const Folder folder({"symbol", "nothing"});
  std::ofstream(folder.file("text")) << "this is not a shared object\n";
  fs::create_directory(folder.file("folder"));
  check_refused(folder, "symbol", "it has no symbol lact_plugin_describe");
  check_refused(folder, "nothing", "it describes nothing");
  check_refused(folder, "text", "it does not load: ");
  check_refused(folder, "folder", "it does not load: ");
}

TEST_CASE("a plugin that needs what this program does not have is refused with the symbol") {
  const Folder folder({"unresolved"});
  check_refused(folder, "unresolved", "undefined symbol: _Z23lact_does_not_have_thisv");
}

TEST_CASE("a modality that cannot be created is refused with the reason, and passed over in help") {
  const Folder folder({"null", "throws", "good"});
  check_refused(folder, "null", "it created no modality");
  check_refused(folder, "throws", "it could not create its modality: no microphone");
  const auto help = bench({"--help"}, folder.path());
  CHECK(help.exit == 0);
  CHECK(help.out.find("\n  good ") != std::string::npos);
  CHECK(help.out.find("\n  null ") == std::string::npos);
  CHECK(help.out.find("\n  throws ") == std::string::npos);
}

TEST_CASE("a file or folder that others may write is refused") {
  const Folder folder({"good"});
  ::chmod(folder.file("good").c_str(), 0757);
  check_refused(folder, "good", "writable by everybody");
  ::chmod(folder.file("good").c_str(), 0755);
  CHECK(bench({"good"}, folder.path()).exit == 0);
  ::chmod(folder.path().c_str(), 0757);
  const auto result = bench({"good"}, folder.path());
  CHECK(result.exit == 69);
  CHECK(result.err.find(": folder refused: writable by everybody") != std::string::npos);
  CHECK(refusals(folder.path()).begin()->second.find("folder refused") == 0);
}

TEST_CASE("a file that belongs to somebody else, or that another group may write, is refused") {
  if (::geteuid() != 0) {
    WARN("only root can give files away: not tried");
    return;
  }
  const Folder folder({"good"});
  REQUIRE(::chown(folder.file("good").c_str(), 54321, 0) == 0);
  check_refused(folder, "good", "owned by user 54321, who is neither root nor you");
  REQUIRE(::chown(folder.file("good").c_str(), 0, 54321) == 0);
  CHECK(bench({"good"}, folder.path()).exit == 0);
  ::chmod(folder.file("good").c_str(), 0775);
  check_refused(folder, "good", "writable by group 54321");
}

TEST_CASE("--plugin-dir comes before LACT_PLUGIN_PATH, and the first file of a name decides") {
  const Folder first({"good"}), second({"good", "null"});
  const std::map<std::string, std::string> environment{
      {"LACT_PLUGIN_PATH", "/nowhere::" + second.path().string()}};
  CHECK(run({"lact-bench", "good"}, "", environment).exit == 0);
  const auto listed = run(
      {"lact-bench", "plugins", "--json", "--plugin-dir", first.path().string()}, "", environment);
  const auto plugins = nlohmann::json::parse(listed.out).at("plugins");
  CHECK(plugins.at(0).at("file") == fs::canonical(first.file("good")).string());
  CHECK(plugins.at(0).at("usable") == true);
  CHECK(plugins.at(1).at("refusal") == "hidden by " + fs::canonical(first.file("good")).string());
  // A broken first file is not quietly replaced by the second.
  std::ofstream(first.file("good"), std::ios::trunc) << "broken";
  CHECK(run({"lact-bench", "good", "--plugin-dir", first.path().string()}, "", environment).exit ==
        69);
}

TEST_CASE("a build tree that was moved finds its own plugins") {
  const std::map<std::string, std::string> environment{
      {"LD_LIBRARY_PATH", (build_root() / "libs/lact").string()}};
  const TemporaryFolder build;
  for (const char* folder : {"tools", "plugins/good", "meson-info"})
    fs::create_directories(build / folder);
  for (const char* file : {"lact-bench", "lact-tools.so"})
    fs::copy_file(build_root() / "tools" / file, build / "tools" / file);
  const auto tool = (build / "tools/lact-bench").string();
  CHECK(run({tool, "good"}, "", environment).exit == 69);
  const auto plugin = build / "plugins/good/lact-good.so";
  fs::copy_file(built("good"), plugin);
  ::chmod(plugin.c_str(), 0755);
  ::chmod(plugin.parent_path().c_str(), 0755);
  CHECK(run({tool, "good", "x"}, "", environment).out == "lact-bench good [] x at 440\n");
  fs::remove(build / "meson-info");
  CHECK(run({tool, "good"}, "", environment).exit == 69);
}

TEST_CASE("a name that is none, a modality that is not there, and a folder that is not there") {
  const Folder folder({"good"});
  CHECK(bench({"../../etc/passwd"}, folder.path()).exit == 64);
  const auto missing = bench({"opera"}, folder.path());
  CHECK(missing.exit == 69);
  CHECK(missing.err.find("no plugin for 'opera': lact-opera.so is not in ") != std::string::npos);
  CHECK(bench({"plugins"}, folder / "nowhere").exit == 66);
}

TEST_CASE("help shows what modalities, verbs and options there are") {
  const Folder folder({"good"});
  const auto dir = "--plugin-dir=" + folder.path().string();
  const auto tool = (build_root() / "tests/plugin/lact-fake-tokenize").string();
  const auto top = run({tool, "--help", dir});
  CHECK(top.exit == 0);
  CHECK(top.out.find("Turns fakes into fakes.") == 0);
  CHECK(top.out.find("\n  good            a fake of the tests\n") != std::string::npos);
  const auto verbs = run({tool, "good", "-h", dir});
  CHECK(verbs.exit == 0);
  CHECK(verbs.out.find("\n  encode          second verb\n") != std::string::npos);
  const auto options = run({tool, "good", "encode", "--help", dir});
  CHECK(options.exit == 0);
  CHECK(options.out.find("Usage: lact-fake-tokenize good encode [WORD...] [OPTIONS]") !=
        std::string::npos);
  CHECK(options.out.find("--pitch N") != std::string::npos);
  CHECK(options.out.find("--threads N") != std::string::npos);
  CHECK(run({tool, "good", "encode", "a", dir}).out ==
        "lact-fake-tokenize good encode [encode] a at 440\n");
}

TEST_CASE("nothing to do, or a verb that is not there, is 64 and one line") {
  const Folder folder({"good"});
  const auto dir = "--plugin-dir=" + folder.path().string();
  const auto tool = (build_root() / "tests/plugin/lact-fake-tokenize").string();
  const auto nothing = run({tool});
  CHECK(nothing.exit == 64);
  CHECK(nothing.err ==
        "lact-fake-tokenize: error: usage: lact-fake-tokenize MODALITY [VERB] [OPTIONS]; try "
        "'lact-fake-tokenize --help'\n");
  const auto no_verb = run({tool, "good", dir});
  CHECK(no_verb.exit == 64);
  CHECK(no_verb.err ==
        "lact-fake-tokenize: error: usage: lact-fake-tokenize good VERB [OPTIONS]; try "
        "'lact-fake-tokenize good --help'\n");
  const auto unknown = run({tool, "good", "dance", dir});
  CHECK(unknown.exit == 64);
  CHECK(unknown.err ==
        "lact-fake-tokenize: error: unknown verb 'dance'; lact-fake-tokenize good "
        "has train, encode\n");
  CHECK(run({tool, "good", "ecnode", dir}).err ==
        "lact-fake-tokenize: error: unknown verb 'ecnode'; did you mean encode?\n");
}

TEST_CASE("a mistyped modality or verb of the tool itself is answered with the nearest one") {
  const Folder folder({"good"});
  const auto ends_with = [](const std::string& text, const std::string& end) {
    return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  };
  const auto modality = bench({"godo"}, folder.path());
  CHECK(modality.exit == 69);
  CHECK(ends_with(modality.err, "; did you mean good?\n"));
  CHECK(ends_with(bench({"plugin"}, folder.path()).err, "; did you mean plugins?\n"));
  CHECK_FALSE(ends_with(bench({"opera"}, folder.path()).err, "?\n"));
}

TEST_CASE("a completion script knows the plugins that are found when it is written") {
  const Folder folder({"good", "abi", "null"});
  const auto tool = (build_root() / "tests/plugin/lact-fake-tokenize").string();
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const auto dir = "--plugin-dir=" + folder.path().string();
    const auto with = run({tool, "--completion", shell, dir});
    CAPTURE(shell, with.err);
    CHECK(with.exit == 0);
    CHECK(with.out.find("good") != std::string::npos);
    CHECK(with.out.find("encode") != std::string::npos);
    CHECK(with.out.find("pitch") != std::string::npos);
    CHECK(with.out.find("abi") == std::string::npos);  // refused
    CHECK(run({tool, "good", "--completion=" + shell, dir}).out == with.out);
    CHECK(run({tool, "--completion", shell}).out.find("pitch") == std::string::npos);
  }
  CHECK(run({tool, "--completion", "ksh"}).exit == 64);
  CHECK(run({tool, "--completion"}).exit == 64);
}

}  // namespace lact::test
