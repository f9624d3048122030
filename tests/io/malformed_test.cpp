// Files that are not as they should be: one clear line, never a crash.

#include "malformed.hpp"
#include "tensors.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/state.hpp>

#include <ATen/ops/full.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <ctime>

using namespace lact;
using namespace lact::test;
using io::SafeTensors;

namespace {

/// Opens it and looks at every byte: what a crash would need.
size_t look_at_all(const std::filesystem::path& path) {
  const auto file = SafeTensors::open(path);
  size_t sum = 0;
  for (const auto& entry : file.entries()) {
    const auto* bytes = file.bytes(entry.name);
    for (uint64_t i = 0; i < entry.end - entry.begin; ++i) sum += std::to_integer<size_t>(bytes[i]);
    sum += static_cast<size_t>(file.tensor(entry.name).numel());
  }
  return sum;
}

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

bool refused(Exit code) {
  return code == Exit::data || code == Exit::no_input;
}

}  // namespace

TEST_CASE("each broken rule of the format is refused in one line that names it", "[io]") {
  const TemporaryFolder folder;
  for (const auto& one : malformed_files()) {
    CAPTURE(one.what);
    put(folder / "f", one.bytes);
    const auto [code, words] = error_of([&] { look_at_all(folder / "f"); });
    CHECK(code == Exit::data);
    CAPTURE(words);
    CHECK(words.find((folder / "f").string() + ": ") == 0);
    CHECK(words.find(one.words) != std::string::npos);
    CHECK(words.find('\n') == std::string::npos);
    CHECK(words.size() < 500);
  }
}

TEST_CASE("a name of control characters does not reach the terminal", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f", raw_file("{\"\\u001b[2J\\n" + std::string(10000, 'x') + "\":1}", 0));
  const auto words = error_of([&] { SafeTensors::open(folder / "f"); }).second;
  CHECK(words.find("\\x1b[2J\\x0a") != std::string::npos);
  CHECK(words.find('\x1b') == std::string::npos);
  CHECK(words.size() < 500);
}

TEST_CASE("a file cut at any byte is refused", "[io]") {
  const TemporaryFolder folder;
  const auto whole = sound_file();
  put(folder / "f", whole);
  CHECK(error_of([&] { look_at_all(folder / "f"); }).first == Exit::ok);
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    put(folder / "f", whole.substr(0, length));
    CHECK(error_of([&] { look_at_all(folder / "f"); }).first == Exit::data);
  }
}

TEST_CASE("a header cut at any byte, with a length to match, is refused", "[io]") {
  const TemporaryFolder folder;
  const auto whole = sound_file();
  const size_t header = static_cast<unsigned char>(whole[0]) + 256u * (unsigned char)whole[1];
  const auto text = whole.substr(8, header), buffer = whole.substr(8 + header);
  for (size_t length = 0; length + 2 < header; ++length) {  // two spaces at the end may go
    CAPTURE(length);
    put(folder / "f", raw_file(text.substr(0, length), 0) + buffer);
    CHECK(error_of([&] { look_at_all(folder / "f"); }).first == Exit::data);
  }
}

TEST_CASE("flipped bits are refused or read, and never crash", "[io]") {
  const TemporaryFolder folder;
  const auto whole = sound_file();
  std::mt19937_64 random(11);
  size_t refusals = 0, attempts = 0;
  const auto attempt = [&](const std::string& bytes) {
    put(folder / "f", bytes);
    const auto code = error_of([&] { look_at_all(folder / "f"); }).first;
    CHECK((code == Exit::ok || refused(code)));
    refusals += code != Exit::ok;
    ++attempts;
  };
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {  // every single one
    auto bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    attempt(bytes);
  }
  for (int i = 0, n = trials(1500); i < n; ++i) {  // several at once, and pieces moved about
    auto bytes = whole;
    for (auto flips = 1 + random() % 8; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
    if (i % 3 == 0) bytes.erase(random() % bytes.size(), random() % 20);
    if (i % 3 == 1) bytes.insert(random() % bytes.size(), bytes.substr(random() % 300, 20));
    attempt(bytes);
  }
  CHECK(refusals > attempts / 2);
  CHECK(refusals < attempts);  // a flip in the buffer or in a name is no error of the format
}

TEST_CASE("random bytes are refused", "[io]") {
  const TemporaryFolder folder;
  std::mt19937_64 random(12);
  for (int i = 0, n = trials(500); i < n; ++i) {
    std::string bytes(random() % 200, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random());
    if (i % 2 == 0 && bytes.size() > 10)  // as far as the JSON
      bytes = raw_file("{" + bytes.substr(0, bytes.size() / 2), bytes.size() / 2);
    put(folder / "f", bytes);
    CHECK(error_of([&] { look_at_all(folder / "f"); }).first == Exit::data);
  }
}

TEST_CASE("a small file with wild numbers costs neither time nor memory", "[io]") {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  for (const auto& one : malformed_files()) {
    put(folder / "f", one.bytes);
    error_of([&] { look_at_all(folder / "f"); });
  }
  ::getrusage(RUSAGE_SELF, &after);
  if (!instrumented()) CHECK(after.ru_maxrss - before.ru_maxrss < 64 * 1024);  // KiB
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a header of many tensors is read in linear time", "[io]") {
  const TemporaryFolder folder;
  const auto seconds = [&](int count) {
    std::string header = "{";
    for (int i = 0; i < count; ++i)
      header += concat(i == 0 ? "" : ",", "\"layers.", count - i,
                       R"(.w":{"dtype":"U8","shape":[1],"data_offsets":[)", i, ",", i + 1, "]}");
    put(folder / "f", raw_file(header + "}", static_cast<size_t>(count)));
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const double start = processor_seconds();  // others may share the machine
      CHECK(SafeTensors::open(folder / "f").entries().size() == static_cast<size_t>(count));
      best = std::min(best, processor_seconds() - start);
    }
    return best;
  };
  const double small = seconds(10000), large = seconds(100000);
  CAPTURE(small, large);
  CHECK(large < 40 * small);  // 10 if linear, 100 if quadratic
}

TEST_CASE("a file that shrinks while it is mapped is refused", "[io]") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "f", {{"a", at::full({100000}, 1.0f)}});
  const auto file = SafeTensors::open(folder / "f");
  std::filesystem::resize_file(folder / "f", 4096);
  CHECK(error_of([&] { file.tensor("a"); }).first == Exit::data);
  CHECK(error_of([&] { file.bytes("a"); }).first == Exit::data);
}

TEST_CASE("what is no regular file is refused at once", "[io]") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(error_of([&] { SafeTensors::open(folder / "pipe"); }).first == Exit::no_input);
  CHECK(error_of([&] { SafeTensors::open(folder.path()); }).first == Exit::no_input);
  CHECK(error_of([&] { SafeTensors::open("/dev/zero"); }).first == Exit::no_input);
  CHECK(error_of([&] { SafeTensors::open(folder / "none"); }).first == Exit::no_input);
}

TEST_CASE("a BOOL that is neither 0 nor 1 is refused", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f",
      raw_file(R"({"m":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 0) + "\x01\x02\x01");
  const auto [code, words] = error_of([&] { SafeTensors::open(folder / "f").tensor("m"); });
  CHECK(code == Exit::data);
  CHECK(words.find("tensor m: BOOL must be 0 or 1, found 2 at byte 1") != std::string::npos);
}

TEST_CASE("a dtype that LibTorch lacks can be listed, but not made a tensor", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f", raw_file(R"({"t":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}})", 3));
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.entry("t").shape == std::vector<int64_t>{4});
  const auto [code, words] = error_of([&] { file.tensor("t"); });
  CHECK(code == Exit::data);
  CHECK(words.find("F6_E3M2") != std::string::npos);
}

TEST_CASE("a tensor that is not there is named", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f", sound_file());
  const auto [code, words] = error_of([&] { SafeTensors::open(folder / "f").tensor("gate"); });
  CHECK(code == Exit::data);
  CHECK(words == (folder / "f").string() + ": tensor gate is missing");
}

TEST_CASE("broken files reach states and models as the same errors", "[io]") {
  const TemporaryFolder folder;
  for (const auto& one : malformed_files()) {
    CAPTURE(one.what);
    put(folder / "model.safetensors", one.bytes);
    CHECK(error_of([&] { io::Checkpoint::open(folder.path()); }).first == Exit::data);
    CHECK(error_of([&] { io::load_state(folder / "model.safetensors"); }).first == Exit::data);
  }
}
