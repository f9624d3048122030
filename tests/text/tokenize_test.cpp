// lact-tokenize text, as real processes.

#include "models.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <zstd.h>
#include <nlohmann/json.hpp>

#include <signal.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <thread>

using namespace lact;
using Catch::Contains;
using test::gzip;
using test::hostile_text;
using test::invented_text;

namespace {

namespace fs = std::filesystem;

test::Result tokenize(std::vector<std::string> words, const std::string& input = "") {
  words.insert(words.begin(), {"lact-tokenize", "text"});
  return test::run(words, input);
}

void put(const fs::path& file, const std::string& content) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << content;
}

std::string get(const fs::path& file) {
  return io::read_text(file);
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// A folder with a model, trained once.
struct Workshop {
  Workshop() {
    static const std::string unigram = test::train_model();
    put(folder / "m.model", unigram);
  }
  test::TemporaryFolder folder;
  std::string model() const { return (folder / "m.model").string(); }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  spm::Tokenizer tokenizer() const { return spm::Tokenizer::open(folder / "m.model"); }
};

std::string line_of(const std::vector<int32_t>& ids) {
  std::string out;
  for (const int32_t id : ids) out += (out.empty() ? "" : " ") + std::to_string(id);
  return out + "\n";
}

/// The documents of packed data, without BOS and EOS, as text.
std::vector<std::string> documents_of(const fs::path& file, const spm::Tokenizer& tokenizer) {
  const auto packed = text::PackedTokens::open(file);
  std::vector<std::string> documents;
  for (int64_t d = 0; d < packed.documents(); ++d) {
    const auto ids = packed.ids(packed.begin(d), packed.begin(d + 1));
    const auto* data = ids.const_data_ptr<int64_t>();
    REQUIRE(data[0] == *tokenizer.bos());
    REQUIRE(data[ids.numel() - 1] == *tokenizer.eos());
    documents.push_back(tokenizer.decode({data, data + ids.numel()}));
  }
  return documents;
}

}  // namespace

TEST_CASE("encode piped into decode gives the bytes that went in") {
  const Workshop shop;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const auto text = hostile_text(seed, seed * 100);
    const auto ids = tokenize({"encode", "--ids", "-m", shop.model()}, text);
    CAPTURE(ids.err);
    REQUIRE(ids.exit == 0);
    CHECK(ids.out == line_of(shop.tokenizer().encode(text)));
    const auto back = tokenize({"decode", "-m", shop.model()}, ids.out);
    CHECK(back.exit == 0);
    CHECK((back.out == text));
  }
}

TEST_CASE("ids do not depend on threads, nor on compression, nor on the file's block boundaries") {
  const Workshop shop;
  const auto text = invented_text(3, 700000) + hostile_text(3, 200000);
  put(shop.folder / "a.txt", text);
  put(shop.folder / "a.gz", gzip(text.substr(0, 300001)) + gzip(text.substr(300001)));
  put(shop.folder / "a.zst", zstd(text.substr(0, 300001)) + zstd(text.substr(300001)));
  const auto want = line_of(shop.tokenizer().encode(text));
  for (const std::string name : {"a.txt", "a.gz", "a.zst"})
    for (const std::string threads : {"1", "3"}) {
      CAPTURE(name, threads);
      const auto got =
          tokenize({"encode", "--ids", "-m", shop.model(), "--threads", threads, shop.path(name)});
      CHECK(got.exit == 0);
      CHECK((got.out == want));
    }
}

TEST_CASE("each file of a folder is a document, in the order of the paths") {
  const Workshop shop;
  put(shop.folder / "in/b.txt", "karo shi");
  put(shop.folder / "in/a/z.txt", "the an");
  put(shop.folder / "in/a/y.txt.gz", gzip("mo lu"));
  put(shop.folder / "in/.hidden", "no");
  put(shop.folder / "in/c.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"tw\\u00f6\\n\"}\r\n");
  const auto result = tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"),
                                shop.path("in"), shop.path("in/b.txt")});
  CAPTURE(result.err);
  REQUIRE(result.exit == 0);
  CHECK(result.out.empty());
  const std::vector<std::string> want = {"mo lu", "the an",       "karo shi",
                                         "one",   "tw\xc3\xb6\n", "karo shi"};
  CHECK(documents_of(shop.folder / "out/train.safetensors", shop.tokenizer()) == want);
  CHECK((get(shop.folder / "out/tokenizer.model") == get(shop.folder / "m.model")));
  CHECK_FALSE(fs::exists(shop.folder / "out/validation.safetensors"));
  CHECK(text::PackedTokens::open(shop.folder / "out/train.safetensors").tokenizer() ==
        io::xxh3(get(shop.folder / "m.model").data(), get(shop.folder / "m.model").size()));
}

TEST_CASE("a separator ends documents inside a file") {
  const Workshop shop;
  const auto tokenizer = shop.tokenizer();
  const auto ids = tokenize({"encode", "--ids", "-m", shop.model(), "--document-separator", "\\n"},
                            "karo\n\nshi mo\n");
  CHECK(ids.out == line_of(tokenizer.encode("karo")) + "\n" + line_of(tokenizer.encode("shi mo")));
  CHECK(tokenize({"decode", "-m", shop.model(), "--document-separator", "\\n"}, ids.out).out ==
        "karo\n\nshi mo\n");
  // A separator that is cut by the reader's blocks.
  const std::string mark = "<|end|>";
  std::string text;
  std::vector<std::string> want;
  for (int i = 0; i < 9; ++i) {
    want.push_back(invented_text(static_cast<uint64_t>(i), 65530 + static_cast<size_t>(i)));
    text += want.back() + mark;
  }
  put(shop.folder / "a.txt", text);
  REQUIRE(tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), "--document-separator",
                    mark, shop.path("a.txt")})
              .exit == 0);
  CHECK((documents_of(shop.folder / "out/train.safetensors", tokenizer) == want));
}

TEST_CASE("the split is by document, the share is kept, and the seed decides") {
  const Workshop shop;
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "{\"body\": \"mo " + std::to_string(i) + "\"}\n";
  put(shop.folder / "a.jsonl", lines);
  std::map<std::string, std::vector<std::string>> validation;
  for (const std::string seed : {"1", "2", "1"}) {
    const auto result =
        tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), "--text-key", "body",
                  "--validation-share", "0.1", "--seed", seed, "--json", shop.path("a.jsonl")});
    REQUIRE(result.exit == 0);
    const auto json = nlohmann::json::parse(result.out);
    CHECK(json["train"]["documents"] == 90);
    CHECK(json["validation"]["documents"] == 10);
    auto train = documents_of(shop.folder / "out/train.safetensors", shop.tokenizer());
    auto held = documents_of(shop.folder / "out/validation.safetensors", shop.tokenizer());
    if (validation.count(seed)) CHECK(validation[seed] == held);
    validation[seed] = held;
    train.insert(train.end(), held.begin(), held.end());
    std::sort(train.begin(), train.end());
    train.erase(std::unique(train.begin(), train.end()), train.end());
    CHECK(train.size() == 100);
  }
  CHECK(validation["1"] != validation["2"]);
}

TEST_CASE("files named for validation go there, and an earlier run's split does not stay") {
  const Workshop shop;
  put(shop.folder / "in/a.txt", "karo");
  put(shop.folder / "in/b.txt", "shi");
  const std::vector<std::string> base = {"encode",         "-m",           shop.model(), "-o",
                                         shop.path("out"), shop.path("in")};
  auto with = base;
  with.insert(with.end(), {"--validation-files", "b.*"});
  REQUIRE(tokenize(with).exit == 0);
  CHECK(documents_of(shop.folder / "out/validation.safetensors", shop.tokenizer()) ==
        std::vector<std::string>{"shi"});
  with.back() = "nothing*";
  CHECK(tokenize(with).exit == 64);
  CHECK(fs::exists(shop.folder / "out/validation.safetensors"));
  REQUIRE(tokenize(base).exit == 0);
  CHECK_FALSE(fs::exists(shop.folder / "out/validation.safetensors"));
}

TEST_CASE("a malformed record is named by file and line, and nothing is written") {
  const Workshop shop;
  const std::map<std::string, std::string> bad = {
      {"{\"text\": \"a\"}\n{\"text\": \"b\"\n", ":2: "},
      {"{\"text\": \"a\"}\n\n[1]\n", ":3: expected an object"},
      {"{\"txt\": \"a\"}", ":1: expected an object with the key \"text\""},
      {"{\"text\": 3}", ":1: text: expected a string"},
      {"{\"text\": \"\xff\"}", ":1: "},
      {"{\"text\": \"\\ud800\"}", ":1: "},
  };
  for (const auto& [content, message] : bad) {
    CAPTURE(content);
    put(shop.folder / "a.jsonl", invented_text(1, 10).empty() ? "" : content);
    const auto result =
        tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), shop.path("a.jsonl")});
    CHECK(result.exit == 65);
    CHECK_THAT(result.err, Contains(shop.path("a.jsonl") + message));
    CHECK((!fs::exists(shop.folder / "out") || fs::is_empty(shop.folder / "out")));
  }
}

TEST_CASE("inputs that cannot be read end with a line that names them") {
  const Workshop shop;
  const auto text = invented_text(1, 100000);
  put(shop.folder / "cut.gz", gzip(text).substr(0, 5000));
  put(shop.folder / "cut.zst", zstd(text).substr(0, 5000));
  put(shop.folder / "no.gz", "not compressed");
  put(shop.folder / "no.zst", "not compressed");
  put(shop.folder / "empty.gz", "");
  put(shop.folder / "empty.txt", "");
  fs::create_directories(shop.folder / "none");
  put(shop.folder / "more.gz", gzip(text) + std::string(100, '\0') + "more");
  const std::map<std::string, int> codes = {{"more.gz", 65}, {"cut.gz", 65}, {"cut.zst", 65},
                                            {"no.gz", 65},   {"no.zst", 65}, {"empty.gz", 65},
                                            {"missing", 66}, {"none", 66}};
  for (const auto& [name, code] : codes) {
    CAPTURE(name);
    const auto result =
        tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), shop.path(name)});
    CHECK(result.exit == code);
    CHECK_THAT(result.err, Contains("error: " + shop.path(name) + ": "));
    CHECK_FALSE(fs::exists(shop.folder / "out/train.safetensors"));
  }
  CHECK(tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), shop.path("empty.txt")})
            .exit == 65);
  CHECK(tokenize({"encode", "-m", shop.path("no.gz"), "--ids"}, "x").exit == 65);
  CHECK(tokenize({"encode", "-m", shop.path("missing"), "--ids"}, "x").exit == 66);
  CHECK(tokenize({"encode", "-m", shop.model()}, "x").exit == 64);
}

TEST_CASE("BOS and EOS stand where they were asked for") {
  const Workshop shop;
  const auto plain = shop.tokenizer().encode("karo");
  auto both = plain;
  both.insert(both.begin(), 1);
  both.push_back(2);
  const auto encode = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"encode", "--ids", "-m", shop.model()});
    return tokenize(flags, "karo").out;
  };
  CHECK(encode({}) == line_of(plain));
  CHECK(encode({"--bos", "--eos"}) == line_of(both));
  CHECK(encode({"--bos", "--no-bos"}) == line_of(plain));
  put(shop.folder / "a.txt", "karo");
  REQUIRE(tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), "--no-bos", "--no-eos",
                    shop.path("a.txt")})
              .exit == 0);
  CHECK(text::PackedTokens::open(shop.folder / "out/train.safetensors").tokens() ==
        static_cast<int64_t>(plain.size()));
}

TEST_CASE("a model without byte pieces says what it loses") {
  const Workshop shop;
  put(shop.folder / "n.model", test::train_model({{"byte_fallback", "false"}}));
  const auto result =
      tokenize({"encode", "--ids", "-m", shop.path("n.model")}, "karo \xe4\xbd\xa0 shi");
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("3 bytes cannot be decoded again"));
  CHECK(tokenize({"encode", "--ids", "-m", shop.model()}, "karo").err.find("cannot") ==
        std::string::npos);
}

TEST_CASE("packed data decodes, whole or a document of it, with its own tokenizer only") {
  const Workshop shop;
  put(shop.folder / "in/a", "karo\n");
  put(shop.folder / "in/b", "shi mo");
  REQUIRE(tokenize({"encode", "-m", shop.model(), "-o", shop.path("out"), shop.path("in")}).exit ==
          0);
  const auto file = shop.path("out/train.safetensors");
  CHECK(tokenize({"decode", file}).out == "karo\nshi mo");
  CHECK(tokenize({"decode", file, "--document", "1"}).out == "shi mo");
  CHECK(tokenize({"decode", file, "--document", "2"}).exit == 64);
  put(shop.folder / "other.model", test::train_model({{"vocab_size", "400"}}));
  const auto other = tokenize({"decode", file, "-m", shop.path("other.model")});
  CHECK(other.exit == 65);
  CHECK_THAT(other.err, Contains("not the tokenizer of"));
}

TEST_CASE("what is no id is refused by line") {
  const Workshop shop;
  for (const std::string bad : {"x", "1.5", "99999", "-1", "99999999999999999999"}) {
    CAPTURE(bad);
    const auto result = tokenize({"decode", "-m", shop.model()}, "3 4\n" + bad + "\n");
    CHECK(result.exit == 65);
    CHECK_THAT(result.err, Contains("stdin:2: "));
  }
}

TEST_CASE("info counts what is there, and its entropies are those worked out by hand") {
  const Workshop shop;
  // 2 documents of 4: a b a b | a a a a, in ids 5 and 6.
  fs::create_directories(shop.folder / "d");
  text::TokenWriter train(shop.folder / "d/train.safetensors", 8, "h", "train");
  train.begin_document();
  train.append({5, 6, 5, 6});
  train.begin_document();
  train.append({5, 5, 5, 5});
  train.add_text_bytes(16);
  train.seal();
  train.commit();
  text::TokenWriter held(shop.folder / "d/validation.safetensors", 8, "h", "validation");
  held.begin_document();
  held.append({5, 6, 7});
  held.seal();
  held.commit();
  const auto result = tokenize({"info", "--json", shop.path("d")});
  CAPTURE(result.err);
  REQUIRE(result.exit == 0);
  const auto all = nlohmann::json::parse(result.out);
  const auto& one = all[shop.path("d/train.safetensors")];
  CHECK(one["documents"] == 2);
  CHECK(one["tokens"] == 8);
  CHECK(one["bytes_per_token"] == 2.0);
  const double unigram = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  CHECK(one["unigram_entropy_nats"].get<double>() == Approx(unigram));
  // After 5 (five times): 6 twice, 5 three times; after 6 (once): 5.
  const double bigram = -(2. / 6 * std::log(2. / 5) + 3. / 6 * std::log(3. / 5));
  CHECK(one["bigram_entropy_nats"].get<double>() == Approx(bigram));
  const auto& other = all[shop.path("d/validation.safetensors")];
  // Unigram with one added to each of 8 counts: 6 has 3/16, 7 has 1/16.
  CHECK(other["unigram_of_train_nats"].get<double>() ==
        Approx(-(std::log(3. / 16) + std::log(1. / 16)) / 2));
  // 5 has 5 followers of 2 kinds, 6 has 1 of 1 kind.
  CHECK(other["bigram_of_train_nats"].get<double>() ==
        Approx(-(std::log((2 + 2 * 3. / 16) / 7) + std::log((0 + 1 * 1. / 16) / 2)) / 2));
  CHECK_THAT(tokenize({"info", shop.path("d"), shop.model()}).out,
             Contains("unigram_entropy_nats"));
  CHECK(nlohmann::json::parse(
            tokenize({"info", "--json", shop.model()}).out)[shop.model()]["bos"] == 1);
}

TEST_CASE("train makes the same model each time, from any form of the same lines") {
  const Workshop shop;
  auto text = invented_text(8, 60000);
  put(shop.folder / "a.txt", text);
  put(shop.folder / "a.gz", gzip(text));
  std::string records;
  records += nlohmann::json{{"text", text}}.dump() + "\n";
  put(shop.folder / "a.jsonl.zst", zstd(records));
  std::vector<std::string> models;
  for (const std::string name : {"a.txt", "a.txt", "a.gz", "a.jsonl.zst", "-"}) {
    const auto input = name == "-" ? name : shop.path(name);
    const auto result =
        tokenize({"train", "--vocab-size", "420", "-o", shop.path("t.model"), input},
                 name == "-" ? text : "");
    CAPTURE(name, result.err);
    REQUIRE(result.exit == 0);
    CHECK(result.out.empty());
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);  // the trainer is silent
    models.push_back(get(shop.folder / "t.model"));
  }
  for (const auto& model : models) CHECK((model == models[0]));
  const auto tokenizer = spm::Tokenizer::open(shop.folder / "t.model");
  CHECK(tokenizer.vocab_size() == 420);
  CHECK(tokenizer.exact());
  CHECK(tokenizer.decode(tokenizer.encode(hostile_text(1, 500))) == hostile_text(1, 500));
}

TEST_CASE("train sees all of a line that is longer than its limit") {
  const Workshop shop;
  // One line, far longer than max-sentence-length; the rare word stands at its end.
  auto text = invented_text(8, 30000);
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::string rare;
  for (int i = 0; i < 200; ++i) rare += " zyxw";
  const auto result =
      tokenize({"train", "--vocab-size", "400", "-o", shop.path("t.model"), "--model-type", "bpe"},
               text + rare + "\xff\x00 tail");
  CAPTURE(result.err);
  REQUIRE(result.exit == 0);
  CHECK(spm::Tokenizer::open(shop.folder / "t.model").encode("zyxw").size() == 1);
}

TEST_CASE("zeros behind gzip data are padding, also between members") {
  const Workshop shop;
  const std::string zeros(70000, '\0'), a = invented_text(1, 3000), b = invented_text(2, 3000);
  put(shop.folder / "plain.txt", a + b);
  put(shop.folder / "padded.gz", gzip(a) + zeros + gzip(b) + zeros);
  const auto ids = [&](const char* name) {
    return tokenize({"encode", "-m", shop.model(), "--ids", shop.path(name)});
  };
  CHECK(ids("padded.gz").exit == 0);
  CHECK(ids("padded.gz").out == ids("plain.txt").out);
}

TEST_CASE("train refuses at once what can only fail after the work") {
  const Workshop shop;
  put(shop.folder / "a.txt", invented_text(8, 20000));
  const auto said = [&](std::vector<std::string> more, int code) {
    std::vector<std::string> words = {"train", "--vocab-size", "400", shop.path("a.txt")};
    if (more[0] != "-o") more.insert(more.end(), {"-o", shop.path("x.model")});
    words.insert(words.end(), more.begin(), more.end());
    const auto result = tokenize(words);
    CHECK(result.exit == code);
    return result.err;
  };
  CHECK_THAT(said({"-o", shop.path("none/t.model")}, 73), Contains("no folder"));
  CHECK_THAT(said({"--pad-id", "0"}, 64), Contains("--pad-id 0: that id is --unk-id's"));
  CHECK_THAT(said({"--user-defined-symbols", "<x>", "--control-symbols", "<x>"}, 64),
             Contains("symbol <x>: given twice"));
  CHECK_THAT(said({"--user-defined-symbols="}, 64), Contains("empty symbol"));
  CHECK_THAT(said({"--vocab-size", "100"}, 65),
             Contains("--vocab-size") && !Contains("character_coverage"));
  CHECK_THAT(said({"--vocab-size", "9000"}, 65), Contains("--no-hard-vocab-limit"));
}

TEST_CASE("train keeps symbols of the user, and says why it cannot") {
  const Workshop shop;
  put(shop.folder / "a.txt", invented_text(8, 20000));
  REQUIRE(tokenize({"train", "--vocab-size", "400", "-o", shop.path("t.model"),
                    "--user-defined-symbols", "<a,\"b>", "--user-defined-symbols", "<c>",
                    "--control-symbols", "<turn>", shop.path("a.txt")})
              .exit == 0);
  const auto tokenizer = spm::Tokenizer::open(shop.folder / "t.model");
  CHECK(tokenizer.encode("<a,\"b>", true).size() == 1);
  CHECK(tokenizer.encode("<c><c>", true).size() == 2);
  CHECK(tokenizer.encode("<turn>", true).size() > 1);
  const auto large =
      tokenize({"train", "--vocab-size", "9000", "-o", shop.path("u.model"), shop.path("a.txt")});
  CHECK(large.exit == 65);
  CHECK_THAT(large.err, Contains("Vocabulary size too high"));
  CHECK_FALSE(fs::exists(shop.folder / "u.model"));
  CHECK(tokenize({"train", "-o", shop.path("u.model")}, "\n \n").exit == 65);
  CHECK(tokenize({"train", shop.path("a.txt")}).exit == 64);
}

TEST_CASE("a gigabyte would fit: memory does not grow with the text") {
  const Workshop shop;
  const auto peak = [&](size_t copies) {
    const auto unit = invented_text(1, 1000000);
    std::ofstream out(shop.path("big.txt"), std::ios::binary);
    for (size_t i = 0; i < copies; ++i) out << unit;
    out.close();
    // The shell's child is the tool; its peak is what /proc says when it has read all.
    const auto result = test::run(
        {"/usr/bin/env", "bash", "-c",
         "exec 3< <(cat \"$1\"); \"$2\" text encode -m \"$3\" -o \"$4\" --threads 2 -q "
         "<&3 & pid=$!; peak=0; while [ -r /proc/$pid/status ]; do "
         "now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status "
         "2>/dev/null); [ -n \"$now\" ] && peak=$now; sleep 0.02; "
         "kill -0 $pid 2>/dev/null || break; done; wait $pid && echo $peak",
         "bash", shop.path("big.txt"), (test::build_root() / "tools/lact-tokenize").string(),
         shop.model(), shop.path("out")});
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    return std::stod(result.out);  // kB
  };
  const double small = peak(5), large = peak(40);
  CAPTURE(small, large);
  if (!test::instrumented()) CHECK(large < small + 8000);  // 35 MB more text, 8 MB at most
}

TEST_CASE("a signal at any moment of packing ends it with 130 or 143 and leaves no data") {
  const test::TemporaryFolder folder;
  put(folder / "t.model", test::train_model());
  std::string text;
  const auto block = invented_text(3, 1 << 16);
  while (text.size() < (size_t{96} << 20)) text += block;
  put(folder / "book.txt", text);
  std::mt19937 random(11);
  int stopped = 0;
  for (int i = 0; i < test::trials(6); ++i) {
    const auto out = folder / concat("out-", i);
    test::Process process({"lact-tokenize", "text", "encode", "-m", (folder / "t.model").string(),
                           "-o", out.string(), (folder / "book.txt").string()});
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 600));
    const int number = i % 2 == 0 ? SIGINT : SIGTERM;
    process.signal(number);
    const auto result = process.wait(std::chrono::seconds(20));
    CAPTURE(i, result.err);
    if (result.exit == 0) continue;  // a fast machine was done
    CHECK(result.exit == 128 + number);
    ++stopped;
    std::error_code none;
    for (const auto& item : fs::directory_iterator(out, none)) FAIL(item.path().filename());
  }
  CHECK(stopped > 0);
}
