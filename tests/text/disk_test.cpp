// Whole programs whose disk fails or is full: exit 74, the file named, the old one intact.

#include "../io/faults.hpp"
#include "models.hpp"
#include "small_model.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>

using namespace lact;
using namespace lact::test;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kMaxCalls = 500;  // far more than one save makes

/// What the tools work on, made once.
const fs::path& place() {
  static const TemporaryFolder folder;
  static const bool made = [] {
    write_model(folder / "model");
    io::write_text(folder / "in.txt", invented_text(1, 100000));
    return true;
  }();
  (void)made;
  return folder.path();
}

std::string path(const std::string& name) {
  return (place() / name).string();
}

/// Names (from the folder) and contents of all files; links count as what they say.
std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    const auto name = fs::relative(item.path(), folder).string();
    if (item.is_symlink())
      files[name] = fs::read_symlink(item.path());
    else if (item.is_regular_file())
      files[name] = io::read_text(item.path());
  }
  return files;
}

/// A program that writes into a folder.
struct Writer {
  std::string name;
  Words (*command)(const fs::path& folder);
  void (*before)(const fs::path& folder);  ///< what the folder holds already
  int stride;                              ///< every how many calls CI tries one
};

Words encode(const fs::path& folder) {
  return {"lact-tokenize",
          "text",
          "encode",
          "-m",
          path("model/tokenizer.model"),
          "-o",
          folder.string(),
          "-q",
          path("in.txt"),
          "--threads",
          "1",
          "--validation-share",
          "0.3",
          "--document-separator",
          "\\n"};
}
void old_encoding(const fs::path& folder) {
  for (const auto* name : {"train.safetensors", "validation.safetensors", "tokenizer.model"})
    io::write_text(folder / name, "old");
}

Words generate(const fs::path& folder) {
  return {"lact-generate",
          "text",
          "--model",
          path("model"),
          "-p",
          "karo",
          "-n",
          "3",
          "-s",
          "1",
          "--save-state",
          (folder / "state").string(),
          "--dtype",
          "float32"};
}
void old_state(const fs::path& folder) {
  io::write_text(folder / "state", "old");
}

Words train(const fs::path& folder, const char* steps) {
  return {"lact-train",
          "toy",
          "--plugin-dir",
          (build_root() / "tests/train").string(),
          "-o",
          folder.string(),
          "--resume",
          "--steps",
          steps,
          "--save-every",
          "1",
          "--dtype",
          "float32",
          "--device",
          "cpu",
          "--threads",
          "1",
          "-q",
          "--ballast",
          "40000",
          "--keep",
          "1"};
}
Words train_on(const fs::path& folder) {
  return train(folder, "2");
}
void old_run(const fs::path& folder) {
  static const bool made = [] {
    const auto made = run(train(place() / "run", "1"));
    if (made.exit != 0) throw std::runtime_error(made.err);
    return true;
  }();
  (void)made;
  fs::copy(place() / "run", folder, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
}

const std::vector<Writer>& writers() {
  static const std::vector<Writer> all = {{"lact-generate --save-state", generate, old_state, 1},
                                          {"lact-tokenize text encode", encode, old_encoding, 4},
                                          {"lact-train", train_on, old_run, 7}};
  return all;
}

struct Faulty {
  Result result;
  FaultReport report;
};

/// Runs it with one faulty call; with call 0 only counts.
Faulty run_with_fault(const Words& command, const fs::path& below, int call, int error,
                      bool die = false) {
  const TemporaryFolder folder;
  FaultReport report;
  const auto file = folder / "report";
  const auto* bytes = reinterpret_cast<const char*>(&report);
  io::write_text(file, {bytes, sizeof report});
  auto preload = (build_root() / "tests/io/lact-faults.so").string();
  // A sanitizer's library must stay in front.
  if (const char* other = std::getenv("LD_PRELOAD")) preload = concat(other, ":", preload);
  auto result = run(command, {},
                    {{"LD_PRELOAD", preload},
                     {"LACT_FAULT_BELOW", below.string()},
                     {"LACT_FAULT_CALL", std::to_string(call)},
                     {"LACT_FAULT_ERRNO", std::to_string(error)},
                     {"LACT_FAULT_DIE", die ? "1" : "0"},
                     {"LACT_FAULT_REPORT", file.string()}});
  const auto seen = io::read_text(file);
  std::memcpy(&report, seen.data(), sizeof report);
  return {std::move(result), report};
}

bool is_temporary(const std::string& name) {
  return name.find(".tmp.") != std::string::npos;
}

/// Of a run: there is a whole checkpoint, and `latest` leads to one.
void check_run(const fs::path& run) {
  const auto newest = io::CheckpointStore(run).newest([](const std::string& line) { FAIL(line); });
  CHECK_FALSE(newest.empty());
  CHECK_NOTHROW(io::Checkpoint::open(run / "latest" / "model.safetensors"));
}

/// What a program that ended with `faulty` may have left, where there was `old` and would be
/// `done`.
void check_files(const fs::path& folder, const Faulty& faulty,
                 const std::map<std::string, std::string>& old,
                 const std::map<std::string, std::string>& done) {
  const std::string function = faulty.report.function;
  const bool removing = function.rfind("unlink", 0) == 0 || function == "remove";
  if (fs::exists(folder / "checkpoints")) {
    check_run(folder);
    for (const auto& [name, text] : files_in(folder))
      if (is_temporary(name)) CHECK((removing || name.rfind("checkpoints/", 0) == 0));
    return;
  }
  // Nothing is replaced before all is on the disk.
  if (faulty.result.exit == 74 && (function == "write" || function == "pwrite64"))
    CHECK(files_in(folder) == old);
  for (const auto& [name, text] : files_in(folder)) {
    CAPTURE(name);
    const auto was = old.find(name), will = done.find(name);
    const bool known =
        (was != old.end() && text == was->second) || (will != done.end() && text == will->second);
    CHECK((known || (removing && is_temporary(name))));
  }
  for (const auto& [name, text] : old) CHECK(fs::exists(folder / name));
}

void fail_each_call(const Writer& writer, int error) {
  const TemporaryFolder scratch;
  const auto folder = scratch / "out";
  const auto start = [&] {
    fs::remove_all(folder);
    if (writer.before != old_run) fs::create_directory(folder);
    writer.before(folder);
  };
  start();
  const auto old = files_in(folder);
  const auto counted = run_with_fault(writer.command(folder), folder, 0, 0);
  CAPTURE(counted.result.err);
  REQUIRE(counted.result.exit == 0);
  const auto done = files_in(folder);
  CHECK(done != old);
  REQUIRE(counted.report.calls > 5);
  REQUIRE(counted.report.calls < kMaxCalls);
  int failures = 0, tried = 0;
  const bool all = std::getenv("LACT_TEST_LONG") != nullptr;
  for (int k = 1; k <= counted.report.calls; k += all ? 1 : writer.stride) {
    start();
    const auto faulty = run_with_fault(writer.command(folder), folder, k, error);
    const auto& [result, report] = faulty;
    const std::string function = report.function;
    CAPTURE(writer.name, k, function, result.err, result.exit);
    ++tried;
    failures += result.exit != 0;
    if (function == "write" || function == "pwrite64" || function == "fsync" ||
        function.rfind("rename", 0) == 0)
      CHECK(result.exit == 74);
    else if (function.rfind("open", 0) == 0)  // to read: a checkpoint is passed over
      CHECK((result.exit == 65 || result.exit == 66 || result.exit == 73 || result.exit == 74));
    else
      CHECK((result.exit == 0 || result.exit == 73 || result.exit == 74));
    if (result.exit != 0) {
      CHECK(result.err.find("error: " + folder.string()) != std::string::npos);
      CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    }
    check_files(folder, faulty, old, done);
  }
  std::cout << writer.name << ": " << tried << " of " << counted.report.calls
            << " calls failed in turn, " << failures << " ended the program" << std::endl;
  CHECK(failures > tried / 3);
}

}  // namespace

TEST_CASE(
    "whichever write, fsync or rename of a program fails, it exits 74 and the old file stays") {
  for (const auto& writer : writers()) fail_each_call(writer, ENOSPC);
  if (std::getenv("LACT_TEST_LONG") != nullptr)
    for (const auto& writer : writers()) fail_each_call(writer, EIO);
}

TEST_CASE("a full disk is exit 74 with the file's name, the old file intact, nothing beside it") {
  // Mounting needs root, or user namespaces.
  const std::string alone = ::geteuid() == 0 ? "unshare -m" : "unshare -rm";
  const auto probe = alone + " mount -t tmpfs -o size=1m none " + place().string();
  if (run({"sh", "-c", probe}).exit != 0) {
    WARN("skipped: no file system can be mounted here");
    return;
  }
  const TemporaryFolder scratch;
  const auto folder = scratch / "disk";
  const auto prepared = scratch / "prepared";
  for (const auto& writer : writers()) {
    fs::remove_all(prepared);
    if (writer.before != old_run) fs::create_directory(prepared);
    writer.before(prepared);
    fs::create_directories(folder);
    std::string command;
    for (const auto& word : writer.command(folder / "out"))
      command += concat(" '",
                        word.rfind("lact-", 0) == 0 && word.find('/') == word.npos
                            ? (build_root() / "tools" / word).string()
                            : word,
                        "'");
    // All but 12 KiB is taken: less than any of them writes.
    const auto script = concat(
        "mount -t tmpfs -o size=1m none ", folder.string(), " && cp -a ", prepared.string(), " ",
        folder.string(), "/out && dd if=/dev/zero of=", folder.string(),
        "/fill bs=4096 status=none 2>/dev/null; truncate -s -12288 ", folder.string(), "/fill;",
        command, " >/dev/null; echo $?; cd ", folder.string(), "/out; find . -name '*.tmp.*'; ",
        "diff -r . ", prepared.string(), " -x lock -x metrics.jsonl -x run.toml && echo same");
    const auto [exit, out, err] = run({"sh", "-c", alone + " sh -c \"$0\"", script});
    CAPTURE(writer.name, exit, err);
    CHECK(out == "74\nsame\n");
    CHECK(err.find("error: " + (folder / "out").string()) != std::string::npos);
    CHECK(err.find("No space left on device") != std::string::npos);
  }
}

TEST_CASE("output to a full device is exit 74") {
  const auto tool = [](const Words& words) {
    Words command{"sh", "-c", "exec \"$0\" \"$@\" > /dev/full"};
    command.push_back((build_root() / "tools" / words[0]).string());
    command.insert(command.end(), words.begin() + 1, words.end());
    return run(command);
  };
  const auto model = path("model"), tokenizer = path("model/tokenizer.model");
  for (const auto& words : std::vector<Words>{
           {"lact-tokenize", "text", "info", tokenizer},
           {"lact-tokenize", "text", "encode", "--ids", "-m", tokenizer, path("in.txt")},
           {"lact-generate", "text", "--model", model, "-p", "karo", "-n", "20"},
           {"lact-generate", "text", "--model", model, "--score", path("in.txt")},
           {"lact-train", "text", "--print-config"},
           {"lact-bench", "plugins"},
           {"lact-bench", "--help"}}) {
    const auto result = tool(words);
    CAPTURE(words, result.err);
    CHECK(result.exit == 74);
    CHECK(result.err.find("error: stdout: ") != std::string::npos);
    CHECK(result.err.find("No space left on device\n") != std::string::npos);
  }
}
