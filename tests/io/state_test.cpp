#include "tensors.hpp"

#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

using namespace lact;
using namespace lact::test;

TEST_CASE("a state comes back as it was saved", "[io]") {
  const TemporaryFolder folder;
  std::mt19937_64 random(3);
  io::State state;
  for (const auto& type : all_types())
    state.tensors["of " + type.format] = random_tensor(random, type.torch, {3, 4});
  state.metadata = {{"modality", "text"}, {"tokens", "12"}};
  io::save_state(folder / "s", state);
  const auto loaded = io::load_state(folder / "s");
  CHECK(loaded.metadata == state.metadata);
  REQUIRE(loaded.tensors.size() == state.tensors.size());
  for (const auto& [name, tensor] : state.tensors) {
    CAPTURE(name);
    CHECK(same_bytes(loaded.tensor(name), tensor));
  }
  CHECK(loaded.value("tokens") == "12");
  const auto file = io::SafeTensors::open(folder / "s");
  CHECK(file.metadata().at("lact.kind") == "state");
}

TEST_CASE("a loaded state does not change with its file, and may be written to", "[io]") {
  const TemporaryFolder folder;
  io::save_state(folder / "s", {{{"a", at::arange(1000, at::kLong)}}, {}});
  const auto loaded = io::load_state(folder / "s");
  put(folder / "s", std::string(std::filesystem::file_size(folder / "s"), 'x'));  // in place
  CHECK(loaded.tensor("a").equal(at::arange(1000, at::kLong)));
  loaded.tensor("a").zero_();
  CHECK(loaded.tensor("a").equal(at::zeros({1000}, at::kLong)));
}

TEST_CASE("what a state lacks is named", "[io]") {
  const io::State state;
  CHECK(error_of([&] { state.tensor("fast.gate"); }).second ==
        "state: tensor fast.gate is missing");
  CHECK(error_of([&] { state.value("model"); }).second == "state: model is missing");
  CHECK(error_of([&] { state.value("model"); }).first == Exit::data);
}

TEST_CASE("a file that is no state is refused", "[io]") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "f", {}, {{"lact.kind", "tokens"}, {"lact.version", "1"}});
  const auto kind = error_of([&] { io::load_state(folder / "f"); });
  CHECK(kind.first == Exit::data);
  CHECK(kind.second ==
        (folder / "f").string() + ": no state: expected lact.kind state, found tokens");
  io::write_safetensors(folder / "f", {}, {{"lact.kind", "state"}, {"lact.version", "1"}});
  CHECK(error_of([&] { io::load_state(folder / "f"); }).second.find("version 1") !=
        std::string::npos);
  io::write_safetensors(folder / "f", {}, {{"lact.kind", "state"}, {"lact.version", "2"}});
  CHECK(error_of([&] { io::load_state(folder / "f"); }).second.find("without checksums") !=
        std::string::npos);
  CHECK(error_of([&] { io::load_state(folder / "none"); }).first == Exit::no_input);
}

TEST_CASE("every changed byte of a state is found, or means the same", "[io]") {
  const TemporaryFolder folder;
  std::mt19937_64 random(4);
  const io::State state{{{"layers.0.gate", random_tensor(random, at::kFloat, {3, 4})},
                         {"layers.0.mask", random_tensor(random, at::kBool, {5})},
                         {"none", random_tensor(random, at::kInt, {0})}},
                        {{"modality", "text"}, {"tokens", "12"}}};
  io::save_state(folder / "s", state);
  const auto whole = get(folder / "s");
  size_t named = 0, same = 0;
  for (size_t i = 0; i < whole.size(); ++i)
    for (const int change : {1, 2, 0x20, 0x80}) {
      CAPTURE(i, change);
      auto bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ change);
      put(folder / "s", bytes);
      std::optional<io::State> loaded;
      const auto [code, words] = error_of([&] { loaded = io::load_state(folder / "s"); });
      if (code == Exit::ok) {  // a blank that became another one
        ++same;
        CHECK(loaded->metadata == state.metadata);
        CHECK(loaded->tensors.size() == state.tensors.size());
        for (const auto& [name, tensor] : state.tensors)
          CHECK(same_bytes(loaded->tensor(name), tensor));
        continue;
      }
      CHECK(code == Exit::data);
      CHECK(words.find((folder / "s").string() + ": ") == 0);
      named += words.find(": tensor layers.0.") != std::string::npos;
    }
  CHECK(same < 32);  // blanks at the header's end
  CHECK(named >= 4 * (3 * 4 * 4 + 5));
}
