// lact-bench verify, as a user runs it.

#include <lact/io/safetensors.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <ATen/ops/full.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <map>
#include <sstream>

namespace lact::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path golden(const std::string& name) {
  return source_root() / "tests/golden" / (name + ".safetensors");
}

Result verify(std::vector<std::string> arguments,
              std::map<std::string, std::string> environment = {}) {
  arguments.insert(arguments.begin(), {"lact-bench", "verify", "--device", "cpu"});
  return run(arguments, "", std::move(environment));
}

/// The first value of a tensor becomes another one: one byte of it.
void change(const fs::path& file, const std::string& tensor) {
  const auto open = io::SafeTensors::open(file);
  const auto* begin = reinterpret_cast<const char*>(open.bytes(open.entries().front().name)) -
                      open.entries().front().begin;
  const auto* place = reinterpret_cast<const char*>(open.bytes(tensor)) + 3;  // sign and exponent
  const auto size = static_cast<std::streamoff>(fs::file_size(file));
  const auto buffer = static_cast<std::streamoff>(open.entries().back().end);
  const auto at = size - buffer + (place - begin);
  const char byte = static_cast<char>(*place ^ 0x80);
  std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
  out.seekp(at);
  out.put(byte);
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

/// A file that no test has seen: f(g) = g / (|g| + 1e-7) of one number.
void write_unseen(const fs::path& file, float result) {
  const json options = {
      {"kind", "newton_schulz"}, {"steps", {0}}, {"tolerance", {{"out.g0.steps0", 1e-6}}}};
  io::write_safetensors(
      file, {{"in.g0", at::full({1, 1, 1}, 2.0f)}, {"out.g0.steps0", at::full({1, 1, 1}, result)}},
      {{"case", options.dump()}});
}

}  // namespace

TEST_CASE("golden files of the operator and of the plugins pass, and are counted") {
  const auto views = (source_root() / "tests/golden/views").string();
  const auto video = (source_root() / "tests/golden/video").string();
  const auto result =
      verify({golden("llm/apply").string(), golden("llm/layer_momentum").string(),
              golden("llm/stream_momentum").string(), views, video, "--data", views});
  CAPTURE(result.out);
  CHECK(result.exit == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("files: 35 PASS, 0 FAIL, 5 skipped\n") != std::string::npos);
}

TEST_CASE("a changed byte makes verify fail and name the tensor") {
  const TemporaryFolder folder;
  fs::copy_file(golden("llm/bc_post_momentum_ragged"), folder / "a.safetensors");
  fs::copy_file(golden("llm/apply"), folder / "b.safetensors");
  change(folder / "a.safetensors", "final.w2");
  const auto result = verify({folder.path().string()});
  CHECK(result.exit == 1);
  CHECK(lines(result.err) == 1);
  CHECK(result.err.find("a.safetensors: tensor final.w2: error ") != std::string::npos);
  CHECK(result.out.find("files: 1 PASS, 1 FAIL, 0 skipped\n") != std::string::npos);
}

TEST_CASE("a file that was never seen is replayed by its kind") {
  const TemporaryFolder folder;
  write_unseen(folder / "good.safetensors", 2.0f / (2.0f + 1e-7f));
  CHECK(verify({(folder / "good.safetensors").string()}).exit == 0);
  write_unseen(folder / "bad.safetensors", 0.99f);
  const auto result = verify({(folder / "bad.safetensors").string()});
  CHECK(result.exit == 1);
  CHECK(result.err.find("tensor out.g0.steps0") != std::string::npos);
}

TEST_CASE("files that nobody can replay are passed over with a line that says why") {
  const TemporaryFolder folder;
  const auto one = at::full({1}, 1.0f);
  io::write_safetensors(folder / "a.safetensors", {{"x", one}});
  io::write_safetensors(folder / "b.safetensors", {{"x", one}},
                        {{"case", R"({"kind": "rope3d", "tolerance": {}})"}});
  io::write_safetensors(folder / "c.safetensors", {{"x", one}},
                        {{"case", R"({"kind": "opera", "tolerance": {}})"}});
  // A plugin that does not load hides the one behind it.
  fs::create_directory(folder / "plugins");
  std::ofstream(folder / "plugins/lact-video.so") << "no library";
  const auto result =
      verify({folder.path().string()}, {{"LACT_PLUGIN_PATH", (folder / "plugins").string()}});
  CHECK(result.exit == 0);
  CHECK(result.err.empty());
  CHECK(result.out.find("no case in its metadata") != std::string::npos);
  CHECK(result.out.find("nobody replays kind rope3d (plugin video does)") != std::string::npos);
  CHECK(result.out.find("nobody replays kind opera |") != std::string::npos);
  CHECK(result.out.find("files: 0 PASS, 0 FAIL, 3 skipped\n") != std::string::npos);
}

TEST_CASE("a file that lies about shapes is refused in one line, and the others are replayed") {
  const TemporaryFolder folder;
  io::NamedTensors tensors;
  const auto file = io::SafeTensors::open(golden("llm/apply"));
  for (const auto& entry : file.entries())
    tensors.emplace_back(entry.name, entry.name == "w1" ? file.tensor("w1").slice(1, 1).contiguous()
                                                        : file.tensor(entry.name));
  io::write_safetensors(folder / "a.safetensors", tensors, file.metadata());
  fs::copy_file(golden("llm/apply"), folder / "b.safetensors");
  const auto result = verify({folder.path().string()});
  CHECK(result.exit == 65);
  CHECK(lines(result.err) == 1);
  CHECK(result.err.find((folder / "a.safetensors").string() + ": tensor ") != std::string::npos);
  CHECK(result.out.find("files: 1 PASS, 0 FAIL, 0 skipped, 1 malformed\n") != std::string::npos);
  CHECK(verify({(folder / "none.safetensors").string()}).exit == 66);
  fs::create_directory(folder / "empty");
  CHECK(verify({(folder / "empty").string()}).exit == 66);
}

TEST_CASE("results come in every form, a line for a file or for a tensor") {
  const auto file = golden("llm/apply").string();
  const auto rows = json::parse(verify({"-o", "json", file}).out);
  CHECK(rows.size() == 1);
  CHECK(rows.at(0).at("file") == file);
  CHECK(rows.at(0).at("kind") == "apply");
  CHECK(rows.at(0).at("result") == "PASS");
  CHECK(rows.at(0).at("error").get<double>() < rows.at(0).at("tolerance").get<double>());
  CHECK(json::parse(verify({"--json", file}).out) == rows);
  const auto all = verify({"-o", "jsonl", "--all", file}).out;
  CHECK(lines(all) == 5);  // out and the gradients of w0, w1, w2, x
  std::istringstream each(all);
  double before = INFINITY;
  for (std::string line; std::getline(each, line);) {
    const auto row = json::parse(line);
    const double share = row.at("error").get<double>() / row.at("tolerance").get<double>();
    CHECK(share <= before);
    before = share;
  }
  const auto csv = verify({"-o", "csv", file}).out;
  CHECK(csv.rfind("file,kind,device,dtype,tensor,error,tolerance,result,note\n", 0) == 0);
  CHECK(lines(csv) == 2);
}

TEST_CASE("each arithmetic is another one") {
  const auto error = [](const std::string& dtype) {
    const auto result =
        verify({"--dtype", dtype, "--json", golden("llm/bc_post_momentum_ragged").string()});
    CHECK(result.exit == 0);
    return json::parse(result.out).at(0).at("error").get<double>();
  };
  CHECK(error("float64") < 1e-7);
  CHECK(error("float32") > 1e-7);
  CHECK(error("bfloat16") > 1e-3);
  CHECK(verify({"--dtype", "half"}).exit == 64);
}

TEST_CASE("without files it says what holds on this machine, each with figure and bound") {
  const auto start = std::chrono::steady_clock::now();
  const auto result = verify({"-o", "jsonl"});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CAPTURE(result.out, result.err);
  CHECK(result.exit == 0);
  CHECK((seconds.count() < 20 || instrumented()));
  int model = 0, skipped = 0;
  std::istringstream each(result.out);
  for (std::string line; std::getline(each, line);) {
    const auto row = json::parse(line);
    skipped += row.at("result") == "skipped";
    if (row.at("result") == "skipped")
      CHECK(row.at("note") == "no CUDA device");
    else
      CHECK(row.at("seen").get<double>() <= row.at("bound").get<double>());
    model += row.at("check").get<std::string>().find("language model") != std::string::npos;
  }
  CHECK(lines(result.out) > 20);
  CHECK(model == 2);
  CHECK(skipped < 4);
}

}  // namespace lact::test
