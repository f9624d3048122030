// Malformed inputs through the real tools: the exit code that is promised, one line, no output.

#include "../text/small_model.hpp"
#include "support/mutate.hpp"
#include "support/process.hpp"
#include "support/test.hpp"
#include "targets.hpp"

#include <algorithm>
#include <map>

using namespace lact;
using namespace lact::test;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr size_t kInputs = 4;  // a parser: each is a process of half a second

struct Use {
  std::string target;  ///< whose malformed inputs
  std::string file;    ///< that they are written to, in the folder
  Words command;       ///< run in the folder; what it writes is called "out"
  Exit also = Exit::data;
};

const std::vector<Use>& uses() {
  const Words generate = {"lact-generate", "text", "-p", "karo", "-n", "1", "--save-state", "out"};
  const Words encode = {"lact-tokenize", "text", "encode", "-o", "out"};
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Words tokenizer = {"-m", "model/tokenizer.model"};
  static const std::vector<Use> all = {
      {"safetensors", "bare/model.safetensors", with(generate, {"--model", "bare"})},
      {"index", "sharded/model.safetensors.index.json", with(generate, {"--model", "sharded"})},
      {"manifest", "model/manifest.json", with(generate, {"--model", "model"})},
      {"state", "s", with(generate, {"--model", "model", "--state", "s"})},
      {"state", "s", {"lact-generate", "text", "--inspect-state", "s"}},
      {"config-toml", "c.toml", with(with(encode, tokenizer), {"--config", "c.toml", "in.txt"})},
      {"run-toml",
       "out-run/run.toml",
       {"lact-train", "text", "-o", "out-run", "--resume", "--data", "none"},
       Exit::config},
      {"sentencepiece", "m.model", with(encode, {"-m", "m.model", "in.txt"})},
      {"config-json", "bare/config.json", with(generate, {"--model", "bare"})},
      {"json-lines", "d.jsonl", with(with(encode, tokenizer), {"d.jsonl"})},
      {"json-lines",
       "d.jsonl",
       {"lact-generate", "text", "--model", "model", "--score", "d.jsonl"}},
      {"gzip", "d.txt.gz", with(with(encode, tokenizer), {"d.txt.gz"})},
      {"zstd", "d.txt.zst", with(with(encode, tokenizer), {"d.txt.zst"})},
      {"packed", "t.safetensors", {"lact-tokenize", "text", "info", "t.safetensors"}},
      {"packed",
       "t.safetensors",
       {"lact-generate", "text", "--model", "model", "--score", "t.safetensors"}}};
  return all;
}

const fuzz::Target& target_of(const Use& use) {
  const auto& all = fuzz::targets();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == use.target; });
  REQUIRE(found != all.end());
  return *found;
}

/// Inputs that the parser refuses, some cut and some changed.
std::vector<std::string> refused_inputs(const fuzz::Target& target) {
  std::vector<std::string> inputs;
  const auto all = malformed_inputs(target.seeds(), 400, /*random_seed=*/3);
  for (size_t i = 37; i < all.size() && inputs.size() < kInputs; i += 71)
    for (size_t j = i; j < all.size(); ++j)
      if (!fuzz::accepts(target, all[j])) {
        inputs.push_back(all[j]);
        break;
      }
  return inputs;
}

/// Models, whole and without a manifest, and a text.
void prepare(const fs::path& folder) {
  write_model(folder / "model");
  fs::copy(folder / "model", folder / "bare");
  fs::remove(folder / "bare/manifest.json");
  fs::copy(folder / "bare", folder / "sharded");
  fs::remove(folder / "sharded/model.safetensors");
  fs::create_directory(folder / "out-run");
  fuzz::put(folder / "in.txt", "karo shi the an\n");
}

/// Runs a tool in the folder.
Result run_in(const fs::path& folder, Words words) {
  words[0] = (build_root() / "tools" / words[0]).string();
  Words command = {"sh", "-c", "cd \"$0\" && exec \"$@\" < /dev/null", folder.string()};
  command.insert(command.end(), words.begin(), words.end());
  return run(command);
}

}  // namespace

TEST_CASE("a tool refuses what its parsers refuse with their exit code, one line and no output") {
  const TemporaryFolder folder;
  prepare(folder.path());
  for (const auto& use : uses()) {
    const auto& target = target_of(use);
    const auto sound = fs::exists(folder / use.file) ? fuzz::get(folder / use.file) : "";
    const auto inputs = refused_inputs(target);
    CHECK(inputs.size() == kInputs);
    for (const auto& input : inputs) {
      fuzz::put(folder / use.file, input);
      const auto result = run_in(folder.path(), use.command);
      CAPTURE(use.command, input.substr(0, 300), result.exit, result.err);
      const auto code = static_cast<Exit>(result.exit);
      CHECK((code == use.also ||
             std::count(target.refusals.begin(), target.refusals.end(), code) > 0));
      CHECK(result.err.find(use.command[0] + ": error: ") == 0);
      CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
      CHECK(result.out.empty());
      if (fs::is_directory(folder / "out")) fs::remove(folder / "out");  // only if it is empty
      CHECK_FALSE(fs::exists(folder / "out"));
      for (const auto& item : fs::recursive_directory_iterator(folder.path()))
        CHECK(item.path().string().find(".tmp.") == std::string::npos);
    }
    fuzz::put(folder / use.file, sound);
  }
}

TEST_CASE(
    "a model of one piece of 400 kB, which kills SentencePiece 0.1.97, is refused by the tool") {
  const TemporaryFolder folder;
  fuzz::put(folder / "in.txt", "karo");
  const std::string piece =
      "\x0a\x80\xb5\x18" + std::string(400000, 'x') + "\x15" + std::string(4, '\0') + "\x18\x01";
  std::string length;
  for (size_t n = piece.size(); length.empty() || n > 0; n >>= 7)
    length += static_cast<char>((n & 0x7f) | (n >= 128 ? 0x80 : 0));
  const std::string unknown = std::string("\x0a\x10\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x20\0", 18);
  fuzz::put(folder / "m.model", unknown + "\x0a" + length + piece);
  const auto result = run_in(
      folder.path(), {"lact-tokenize", "text", "encode", "--ids", "-m", "m.model", "in.txt"});
  CAPTURE(result.err);
  CHECK(result.exit == 65);
  CHECK(result.err.find("m.model: piece 1: 400000 bytes, expected at most 4096") !=
        std::string::npos);
}
