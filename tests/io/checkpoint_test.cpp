// Model directories, their hash, and a run's checkpoints.

#include "support/ranks.hpp"
#include "tensors.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

using namespace lact;
using namespace lact::test;
using io::Checkpoint;
using io::CheckpointStore;
using io::CheckpointWriter;
namespace fs = std::filesystem;

namespace {

io::NamedTensors some_tensors(uint64_t seed) {
  std::mt19937_64 random(seed);
  io::NamedTensors tensors;
  for (const auto& type : all_types())
    tensors.emplace_back("layers." + type.format, random_tensor(random, type.torch, {5, 8}));
  return tensors;
}

void save(const CheckpointStore& store, int64_t step, int keep) {
  CheckpointStore(store).save(step, keep, [&](CheckpointWriter& writer) {
    writer.tensors("model.safetensors", {{"step", at::full({}, step, at::kLong)}}, {});
    writer.file("config.json", R"({"a": 1})");
  });
}

int64_t step_in(const fs::path& location) {
  return Checkpoint::open(location).tensor("step").item<int64_t>();
}

const auto kSilent = [](const std::string& line) { FAIL(line); };

}  // namespace

namespace {

/// Of types that LibTorch copies in deterministic mode.
io::NamedTensors plain_tensors(uint64_t seed) {
  io::NamedTensors kept;
  for (const auto& one : some_tensors(seed))
    if (one.first == "layers.F32" || one.first == "layers.BF16" || one.first == "layers.I64")
      for (int i = 0; i < 4; ++i) kept.emplace_back(concat(one.first, ".", i), one.second.clone());
  return kept;
}

}  // namespace

TEST_CASE("several writers make the bytes of one, at once or while their tensors change", "[io]") {
  const TemporaryFolder folder;
  const auto when = GENERATE(CheckpointWriter::When::now, CheckpointWriter::When::at_commit);
  const auto fill = [](CheckpointWriter& writer) {
    auto model = plain_tensors(1), moments = plain_tensors(2);
    writer.tensors("model.safetensors", model, {{"format", "pt"}}, 500);  // several shards
    writer.tensors("training/optimizer.safetensors", moments, {});
    writer.file("config.json", R"({"a": 1})");
    return std::pair{model, moments};
  };
  {
    CheckpointWriter writer(folder / "one");
    fill(writer);
    writer.commit();
  }
  const int count = GENERATE(2, 3);
  const auto many = folder / "many";
  std::atomic<int> wrote = 0;
  on_ranks(count, [&](const io::Writers& writers) {
    CheckpointWriter writer(many, &writers, when);
    auto [model, moments] = fill(writer);
    if (when == CheckpointWriter::When::at_commit)
      for (auto* tensors : {&model, &moments})
        for (auto& [name, tensor] : *tensors)
          std::memset(tensor.mutable_data_ptr(), 0, tensor.nbytes());
    writer.commit();
    if (fs::exists(many / "manifest.json")) ++wrote;
  });
  CHECK(wrote == count);  // nobody goes on before it is there
  CHECK(listing(many) == listing(folder / "one"));
  for (const auto& name : listing(folder / "one"))
    if (fs::is_regular_file(folder / "one" / name))
      CHECK(io::read_text(many / name) == io::read_text(folder / "one" / name));
}

TEST_CASE("several readers find what is damaged, whoever reads it, and pass over it", "[io]") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  for (const int64_t step : {1, 2})
    CheckpointStore(run).save(step, 2, [&](CheckpointWriter& writer) {
      writer.tensors("model.safetensors", some_tensors(3), {}, 500);
    });
  std::vector<fs::path> files;
  for (const auto& item : fs::directory_iterator(run / "checkpoints/step-2"))
    if (item.path().extension() == ".safetensors") files.push_back(item.path());
  REQUIRE(files.size() > 3);
  for (const auto& file : files) {
    CAPTURE(file);
    const auto whole = io::read_text(file);
    auto torn = whole;
    torn.back() = static_cast<char>(torn.back() ^ 1);
    io::write_text(file, torn);
    std::atomic<int> found = 0, complaints = 0;
    on_ranks(3, [&](const io::Writers& readers) {
      const auto newest = CheckpointStore(run, &readers).newest([&](const std::string& line) {
        if (line.find(file.filename().string()) != line.npos) ++complaints;
      });
      if (newest == run / "checkpoints/step-1") ++found;
    });
    CHECK(found == 3);
    CHECK(complaints == 3);
    io::write_text(file, whole);
  }
}

TEST_CASE("a model is found by file, index, directory and run", "[io]") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "one");
  const auto tensors = some_tensors(1);
  io::write_safetensors(folder / "one/model.safetensors", tensors, {{"format", "pt"}});
  {
    CheckpointWriter writer(folder / "sharded");
    writer.tensors("model.safetensors", tensors, {{"format", "pt"}}, 500);
    writer.commit();
  }
  CheckpointStore(folder / "run").save(7, 2, [&](CheckpointWriter& writer) {
    writer.tensors("model.safetensors", tensors, {{"format", "pt"}});
  });
  for (const auto& location : {folder / "one", folder / "one/model.safetensors", folder / "sharded",
                               folder / "sharded/model.safetensors.index.json", folder / "run",
                               folder / "run/latest", folder / "run/checkpoints/step-7"}) {
    CAPTURE(location);
    const auto found = Checkpoint::open(location);
    CHECK(found.names().size() == tensors.size());
    for (const auto& [name, tensor] : tensors) CHECK(same_bytes(found.tensor(name), tensor));
    CHECK(found.metadata().at("format") == "pt");
    CHECK(found.entry("layers.F32").dtype == "F32");
    CHECK(error_of([&] { found.tensor("layers.none"); }).first == Exit::data);
  }
  CHECK(Checkpoint::open(folder / "run").folder() ==
        fs::canonical(folder / "run/checkpoints/step-7"));
  CHECK(listing(folder / "sharded").size() > 4);
}

TEST_CASE("shards and their index are what Hugging Face writes", "[io]") {
  const TemporaryFolder folder;
  CheckpointWriter writer(folder / "c");
  const auto four = at::full({4}, 1.0f);  // 16 bytes
  writer.tensors("model.safetensors",
                 {{"c", four}, {"a", four}, {"b", at::full({40}, 1.0f)}, {"d", four}}, {}, 32);
  writer.commit();
  CHECK(listing(folder / "c") ==
        std::vector<std::string>{
            "manifest.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors", "model.safetensors.index.json"});
  const auto index = nlohmann::json::parse(get(folder / "c/model.safetensors.index.json"));
  CHECK(index == nlohmann::json::parse(R"({"metadata": {"total_size": 208}, "weight_map": {
      "a": "model-00001-of-00003.safetensors", "b": "model-00002-of-00003.safetensors",
      "c": "model-00001-of-00003.safetensors", "d": "model-00003-of-00003.safetensors"}})"));
}

TEST_CASE("what is not the model lies in a folder of its own, sharded and vouched for", "[io]") {
  const TemporaryFolder folder;
  const auto tensors = some_tensors(1);
  CheckpointWriter writer(folder / "c");
  writer.tensors("model.safetensors", tensors, {});
  writer.tensors("training/moments.safetensors", tensors, {}, 500);
  for (const char* name : {"../out", "a/b/c", "/a", "a/", "a/.."})
    CHECK(error_of([&] { writer.file(name, "x"); }).first == Exit::internal);
  writer.commit();
  CHECK(listing(folder / "c") ==
        std::vector<std::string>{"manifest.json", "model.safetensors", "training"});
  const auto found = Checkpoint::open(folder / "c/training/moments.safetensors.index.json");
  for (const auto& [name, tensor] : tensors) CHECK(same_bytes(found.tensor(name), tensor));
  CHECK(io::verify_checkpoint(folder / "c").empty());
  CHECK(fs::remove(folder / "c/training/moments.safetensors.index.json"));
  CHECK_THAT(io::verify_checkpoint(folder / "c"),
             Catch::Contains("training/moments") && Catch::Contains("missing"));
}

TEST_CASE("a model's hash does not depend on its files, but on all else", "[io]") {
  const TemporaryFolder folder;
  auto tensors = some_tensors(2);
  const auto hash = [&](const io::NamedTensors& what, uint64_t shard_bytes) {
    static int count = 0;
    const auto place = folder / std::to_string(count++);
    CheckpointWriter writer(place);
    writer.tensors("model.safetensors", what, {{"at", std::to_string(count)}}, shard_bytes);
    writer.commit();
    return Checkpoint::open(place).hash();
  };
  const auto whole = hash(tensors, 1 << 30);
  CHECK(whole.size() == 32);
  for (const uint64_t bytes : {1u, 100u, 300u, 1000u}) CHECK(hash(tensors, bytes) == whole);
  std::reverse(tensors.begin(), tensors.end());
  CHECK(hash(tensors, 300) == whole);

  std::set<std::string> others{whole};
  auto other = tensors;
  other[3].second = other[3].second.clone();
  static_cast<uint8_t*>(other[3].second.data_ptr())[7] ^= 1;
  others.insert(hash(other, 1 << 30));
  other = tensors;
  other[3].first += "x";
  others.insert(hash(other, 1 << 30));
  other = tensors;
  other[3].second = other[3].second.view({8, 5});
  others.insert(hash(other, 1 << 30));
  other = tensors;
  other.pop_back();
  others.insert(hash(other, 1 << 30));
  const auto f32 = at::full({4}, 1.0f);
  others.insert(hash({{"a", f32}}, 1 << 30));
  others.insert(hash({{"a", f32.view(at::kInt)}}, 1 << 30));
  CHECK(others.size() == 7);
}

TEST_CASE("side files and config are found beside the tensors", "[io]") {
  const TemporaryFolder folder;
  save(CheckpointStore(folder / "run"), 1, 1);
  const auto found = Checkpoint::open(folder / "run");
  CHECK(found.config().at("a") == 1);
  CHECK(found.side_file("config.json") == found.folder() / "config.json");
  CHECK(found.side_file("tokenizer.model").empty());
  io::write_text(found.folder() / "config.json", "[1]");
  CHECK(error_of([&] { found.config(); }).first == Exit::data);
  fs::remove(found.folder() / "config.json");
  CHECK(error_of([&] { found.config(); }).first == Exit::no_input);
}

TEST_CASE("side files lie beside the link where a cache links each file", "[io]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "blobs");
  fs::create_directories(folder / "snapshot");
  io::write_safetensors(folder / "blobs/0123", {{"a", at::full({1}, 1.0f)}});
  fs::create_symlink("../blobs/0123", folder / "snapshot/model.safetensors");
  io::write_text(folder / "snapshot/config.json", "{}");
  CHECK(Checkpoint::open(folder / "snapshot").config().empty());
}

TEST_CASE("a model that is not there, or not whole, is refused by name", "[io]") {
  const TemporaryFolder folder;
  const auto refused = [&](const fs::path& location) {
    return error_of([&] { Checkpoint::open(location); });
  };
  CHECK(refused(folder / "none").first == Exit::no_input);
  CHECK(refused(folder.path()).first == Exit::no_input);
  fs::create_symlink("gone", folder / "latest");
  CHECK(refused(folder.path()).first == Exit::no_input);

  const auto tensor = at::full({4}, 1.0f);
  io::write_safetensors(folder / "s1", {{"a", tensor}, {"b", tensor}});
  io::write_safetensors(folder / "s2", {{"c", tensor}});
  io::write_safetensors(folder / "s3", {{"a", tensor}, {"d", tensor}});
  const auto index = folder / "model.safetensors.index.json";
  const auto of = [&](const std::string& text) {
    put(index, text);
    return refused(index);
  };
  CHECK(of(R"({"weight_map": {"a": "s1", "c": "s2"}})").first == Exit::ok);
  CHECK(Checkpoint::open(index).names() == std::vector<std::string>{"a", "c"});
  const auto lacks = of(R"({"weight_map": {"a": "s1", "b": "s2"}})");
  CHECK(lacks.first == Exit::data);
  CHECK(lacks.second.find("lacks tensor b") != std::string::npos);
  CHECK(of(R"({"weight_map": {"a": "s1", "d": "s3"}})").first == Exit::data);  // a is in both
  CHECK(of(R"({"weight_map": {"a": "s4"}})").first == Exit::no_input);
  for (const auto* text :
       {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})",
        R"({"weight_map": {"a": 1}})", R"({"weight_map": {"a": "../s1"}})",
        R"({"weight_map": {"a": "/etc/passwd"}})", R"({"weight_map": {"a": ".."}})",
        R"({"weight_map": {"a": "s1", "a": "s2"}})", R"({"weight_map": {"a": "s1"}} x)"}) {
    CAPTURE(text);
    CHECK(of(text).first == Exit::data);
  }
}

TEST_CASE("a checkpoint appears at commit, whole, or not at all", "[io]") {
  const TemporaryFolder folder;
  {
    CheckpointWriter writer(folder / "c");
    writer.file("a", "text");
    CHECK_FALSE(fs::exists(folder / "c"));
  }
  CHECK(listing(folder.path()).empty());
  put(folder / "source", std::string(3000000, 'x'));
  CheckpointWriter writer(folder / "c");
  writer.file("a", "text");
  writer.copy("b", folder / "source");
  CHECK(error_of([&] { writer.file("a", "again"); }).first == Exit::internal);
  CHECK(error_of([&] { writer.file("../a", "out"); }).first == Exit::internal);
  CHECK(error_of([&] { writer.copy("c", folder / "none"); }).first == Exit::no_input);
  writer.commit();
  CHECK(listing(folder.path()) == std::vector<std::string>{"c", "source"});
  CHECK(listing(folder / "c") == std::vector<std::string>{"a", "b", "manifest.json"});
  CHECK(get(folder / "c/b") == get(folder / "source"));
  CHECK(io::verify_checkpoint(folder / "c") == "");
  const auto manifest = nlohmann::json::parse(get(folder / "c/manifest.json"));
  CHECK(manifest["files"]["a"]["bytes"] == 4);
  CHECK(manifest["files"]["a"]["xxh3"] == io::xxh3("text", 4));
  CHECK(error_of([&] { CheckpointWriter(folder / "no/c"); }).first == Exit::cannot_create);
}

TEST_CASE("the newest checkpoints are kept, and latest is the newest", "[io]") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder / "run");
  for (const int64_t step : {9, 10, 100, 101}) {
    save(store, step, 2);
    CHECK(step_in(folder / "run") == step);
    CHECK(fs::read_symlink(folder / "run/latest") == concat("checkpoints/step-", step));
  }
  CHECK(listing(folder / "run/checkpoints") == std::vector<std::string>{"step-100", "step-101"});
  CHECK(store.newest(kSilent) == folder / "run/checkpoints/step-101");
  save(store, 102, 0);
  CHECK(listing(folder / "run/checkpoints").size() == 3);
  CHECK(listing(folder / "run") == std::vector<std::string>{"checkpoints", "latest"});
  CHECK(CheckpointStore(folder / "none").newest(kSilent).empty());
}

TEST_CASE("a run moved elsewhere keeps its latest", "[io]") {
  const TemporaryFolder folder;
  save(CheckpointStore(folder / "run"), 5, 1);
  fs::rename(folder / "run", folder / "moved");
  CHECK(step_in(folder / "moved") == 5);
}

TEST_CASE("a damaged checkpoint is passed over and named", "[io]") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder / "run");
  for (const int64_t step : {1, 2, 3}) save(store, step, 3);
  const auto newest = store.folder(3);
  const auto how =
      GENERATE(as<std::string>{}, "delete", "truncate", "lengthen", "swap", "flip", "no manifest",
               "half a manifest", "empty manifest", "no files", "a folder");
  CAPTURE(how);
  const auto model = newest / "model.safetensors", manifest = newest / "manifest.json";
  const auto bytes = get(model);
  if (how == "delete") fs::remove(model);
  if (how == "truncate") fs::resize_file(model, bytes.size() - 1);
  if (how == "lengthen") put(model, bytes + "x");
  if (how == "swap")
    fs::copy_file(store.folder(2) / "model.safetensors", model,
                  fs::copy_options::overwrite_existing);
  if (how == "flip") put(model, bytes.substr(0, bytes.size() - 1) + "\x55");
  if (how == "no manifest") fs::remove(manifest);
  if (how == "half a manifest") fs::resize_file(manifest, fs::file_size(manifest) / 2);
  if (how == "empty manifest") fs::resize_file(manifest, 0);
  if (how == "no files") put(manifest, "{\"files\": [], \"version\": 1}");
  if (how == "a folder") {
    fs::remove(model);
    fs::create_directory(model);
  }
  std::vector<std::string> lines;
  CHECK(store.newest([&](const std::string& line) { lines.push_back(line); }) == store.folder(2));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find(newest.string() + ": damaged, passed over: ") == 0);
  CHECK(lines[0].find('\n') == std::string::npos);
}

TEST_CASE("every flipped byte of a checkpoint is found", "[io]") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder / "run");
  save(store, 1, 1);
  for (const auto* name : {"model.safetensors", "config.json"}) {
    const auto whole = get(store.folder(1) / name);
    for (size_t i = 0; i < whole.size(); ++i) {
      auto bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
      put(store.folder(1) / name, bytes);
      const auto problem = io::verify_checkpoint(store.folder(1));
      CHECK(problem.find(name) == 0);
      if (i >= whole.size() - 8 && name[0] == 'm')
        CHECK(problem.find("(tensor step: damaged: ") != std::string::npos);
      // Who only wants the model finds it too, or nothing has changed its meaning.
      const auto [code, words] = error_of([&] {
        const int64_t step = step_in(folder / "run");
        const auto config = Checkpoint::open(folder / "run").config();
        if (step != 1 || config != nlohmann::json{{"a", 1}}) FAIL("read, but changed");
      });
      CAPTURE(name, i, words);
      const bool blank = whole[i] == ' ' && name[0] == 'm';
      CHECK((code == Exit::data || (code == Exit::ok && blank)));
    }
    put(store.folder(1) / name, whole);
  }
  CHECK(io::verify_checkpoint(store.folder(1)) == "");
  const auto manifest = get(store.folder(1) / "manifest.json");
  for (size_t i = 0; i < manifest.size(); ++i) {
    auto bytes = manifest;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    put(store.folder(1) / "manifest.json", bytes);
    CAPTURE(i, bytes);
    const bool blank = manifest[i] == ' ' || manifest[i] == '\n';
    CHECK((!io::verify_checkpoint(store.folder(1)).empty() || blank));
  }
}

TEST_CASE("saving again after a damaged step never leaves the damaged one alone", "[io]") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder / "run");
  for (const int64_t step : {10, 20, 30}) save(store, step, 3);
  put(store.folder(30) / "model.safetensors", "damage");
  save(store, 25, 1);  // a run resumed from 20
  CHECK(listing(folder / "run/checkpoints") == std::vector<std::string>{"step-25"});
  CHECK(store.newest(kSilent) == store.folder(25));
  put(store.folder(25) / "model.safetensors", "damage");
  save(store, 25, 1);  // the same step once more
  CHECK(store.newest(kSilent) == store.folder(25));
  CHECK(step_in(folder / "run") == 25);
  CHECK(listing(folder / "run/checkpoints") == std::vector<std::string>{"step-25"});
}

TEST_CASE("what a killed writer left is cleaned away, and nothing else", "[io]") {
  const TemporaryFolder folder;
  CheckpointStore store(folder / "run");
  store.clean();  // of a run that does not exist yet
  save(store, 1, 1);
  fs::create_directories(folder / "run/checkpoints/step-2.tmp.4711");
  put(folder / "run/checkpoints/step-2.tmp.4711/model.safetensors", "half");
  fs::create_directory_symlink("checkpoints/step-2", folder / "run/latest.tmp.4711");
  put(folder / "run/run.toml.tmp.4711.3", "half");
  put(folder / "run/notes.tmp.txt", "mine");
  put(folder / "run/checkpoints/step-02", "mine");
  store.clean();
  CHECK(listing(folder / "run") ==
        std::vector<std::string>{"checkpoints", "latest", "notes.tmp.txt"});
  CHECK(listing(folder / "run/checkpoints") == std::vector<std::string>{"step-02", "step-1"});
  CHECK(step_in(folder / "run") == 1);
}

TEST_CASE("a checkpoint that cannot be filled leaves the last one as it was", "[io]") {
  const TemporaryFolder folder;
  CheckpointStore store(folder / "run");
  save(store, 1, 1);
  CHECK(error_of([&] {
          store.save(2, 1, [&](CheckpointWriter& writer) {
            writer.file("a", "text");
            throw Error(Exit::stopped, "the reason");
          });
        }).second == "the reason");
  CHECK(listing(folder / "run/checkpoints") == std::vector<std::string>{"step-1"});
  CHECK(step_in(folder / "run") == 1);
}

TEST_CASE("JSON is parsed strictly", "[io]") {
  CHECK(io::parse_json(R"({"a": [1, 2.5, "\u00e9", null]})", "f").at("a").at(2) == "é");
  CHECK(io::parse_json("18446744073709551615", "f") == UINT64_MAX);
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(error_of([&] { io::parse_json(nested(64), "f"); }).first == Exit::ok);
  CHECK(error_of([&] { io::parse_json(nested(65), "f"); }).first == Exit::data);
  CHECK(error_of([&] { io::parse_json(nested(1000000), "f"); }).first == Exit::data);
  CHECK(error_of([] { io::parse_json(R"({"a": {"b": 1, "b": 2}})", "f"); }).second ==
        "f: key b comes twice");
  CHECK(error_of([] { io::parse_json(R"([{"a": 1}, {"a": 1}])", "f"); }).first == Exit::ok);
  for (const std::string text : {"", "{", "{} {}", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\\ud800\"",
                                 "01", "nan", "1e999", "{\"a\": 1,}", "// x\n1", "'a'", "\"\n\""}) {
    CAPTURE(text);
    const auto [code, words] = error_of([&] { io::parse_json(text, "f"); });
    CHECK(code == Exit::data);
    CHECK(words.find("f: not JSON: ") == 0);
    CHECK(words.find('\n') == std::string::npos);
  }
  CHECK(error_of([] { io::parse_json(std::string("1\0 2", 4), "f"); }).first == Exit::data);
}
