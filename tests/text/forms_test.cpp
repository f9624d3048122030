// What people point our programs at: other forms than text, other tokenizers' data, moved folders.

#include "models.hpp"
#include "small_model.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/known_form.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

#include <fstream>

using namespace lact;
using namespace std::string_literals;
using Catch::Contains;
using test::gzip;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// A folder with two tokenizers and a text.
struct Desk {
  test::TemporaryFolder folder;
  Desk() {
    static const auto one = test::train_model();
    static const auto other = test::train_model({{"vocab_size", "300"}});
    put("one.model", one);
    put("other.model", other);
    put("a.txt", test::invented_text(3, 20000));
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  void put(const std::string& name, const std::string& content) const {
    fs::create_directories((folder / name).parent_path());
    std::ofstream(folder / name, std::ios::binary) << content;
  }
  test::Result encode(Words more, const std::string& input = {}) const {
    Words words = {"lact-tokenize", "text", "encode", "-m", path("one.model")};
    words.insert(words.end(), more.begin(), more.end());
    return test::run(words, input);
  }
  void pack(const std::string& name, const std::string& model = "one.model") const {
    const auto result = test::run({"lact-tokenize", "text", "encode", "-q", "-m", path(model), "-o",
                                   path(name), "--validation-share", "0", path("a.txt")});
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
  }
  test::Result train(Words more) const {
    Words words = {"lact-train", "text", "-o",        path("run"), "--dtype",     "float32",
                   "--device",   "cpu",  "--threads", "1",         "--log-every", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run(words);
  }
  /// A fresh run of a model that takes no time.
  test::Result begin(Words more) const {
    Words words = {
        "--hidden-size",       "32", "--num-hidden-layers", "1",  "--num-attn-heads", "2",
        "--num-lact-heads",    "1",  "--lact-chunk-size",   "32", "--window-size",    "32",
        "--intermediate-size", "32", "--seq-len",           "64", "--batch-size",     "1"};
    words.insert(words.end(), more.begin(), more.end());
    return train(words);
  }
};

void check_refused(const test::Result& result, int exit, const std::string& says) {
  CHECK(result.exit == exit);
  CHECK_THAT(result.err, Contains(says));
}

int64_t documents(const fs::path& file) {
  return text::PackedTokens::open(file).documents();
}

}  // namespace

// --- what is this file?
// ----------------------------------------------------------------------------

TEST_CASE("forms that are no text are known by their first bytes, and text is none of them") {
  CHECK(io::known_form("\x89PNG\r\n\x1a\n....") == "a PNG picture");
  CHECK(io::known_form("PAR1\x15\x04") == "a Parquet table");
  CHECK(io::known_form("\xfd"
                       "7zXZ\0."s) == "xz data");
  CHECK(io::known_form("BZh91AY&SY\x01") == "bzip2 data");
  CHECK(io::known_form("\xff\xfeH\0i\0"s) == "UTF-16 text");
  CHECK(io::known_form("\x10\0\0\0\0\0\0\0{\"a\": "s) == "safetensors data");
  CHECK(io::known_form("version https://git-lfs.github.com/spec/v1\n") == "a pointer of Git LFS");
  for (const char* text : {"", "B", "BZhang went home", "PK", "{\"text\": 1}", "\xef\xbb\xbftext",
                           "ORCHIDS are flowers", "ID3 tags", "MARTIAN WAVES", "The ftyp box",
                           "{\"id\": \"WAVE-001\"}"})
    CHECK(io::known_form(text) == "");
}

TEST_CASE(
    "pictures, tables and archives in a folder are left out with a line, named ones refused") {
  const Desk desk;
  desk.put("c/a.txt", "ba ke li");
  desk.put("c/b.txt.xz",
           "\xfd"
           "7zXZ\0rest"s);
  desk.put("c/d.parquet", "PAR1\x15\x04rest");
  desk.put("c/empty.txt", "");
  const auto result = desk.encode({"-o", desk.path("out"), desk.path("c")});
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("c/b.txt.xz: is xz data, left out") &&
                             Contains("c/d.parquet: is a Parquet table, left out"));
  CHECK(documents(desk.folder / "out/train.safetensors") == 1);
  check_refused(desk.encode({"-o", desk.path("o2"), desk.path("c/d.parquet")}), 65,
                "c/d.parquet: is a Parquet table, no text: convert it to JSON lines first");
  CHECK_FALSE(fs::exists(desk.folder / "o2/train.safetensors"));
  // Who wants the bytes says so.
  CHECK(desk.encode({"--ids", "--input-format", "text", desk.path("c/d.parquet")}).exit == 0);
  check_refused(desk.encode({"--ids"}, "%PDF-1.7 ..."), 65, "stdin: is a PDF document, no text");
}

TEST_CASE(
    "compressed text is decompressed whatever its name, JSON lines are read under .json too") {
  const Desk desk;
  const auto plain = desk.encode({"--ids"}, "ba ke\n");
  desk.put("noname", gzip("ba ke\n"));
  CHECK(desk.encode({"--ids", desk.path("noname")}).out == plain.out);
  CHECK(desk.encode({"--ids"}, gzip("ba ke\n")).out == plain.out);
  desk.put("c4.json.gz", gzip("{\"text\": \"ba ke\\n\"}\n{\"text\": \"li\"}\n"));
  CHECK_THAT(desk.encode({"--ids", desk.path("c4.json.gz")}).out, Catch::StartsWith(plain.out));
  desk.put("one.json", "{\n  \"name\": 1\n}\n");
  const auto other = desk.encode({"--ids", desk.path("one.json")});
  CHECK(other.exit == 0);
  CHECK_THAT(other.err, Contains("one.json: JSON, but its first line is no object with \"text\""));
}

TEST_CASE("what encode wrote into its input folder is no input the next time") {
  const Desk desk;
  desk.put("c/a.txt", "ba ke li");
  for (int i = 0; i < 2; ++i) {
    REQUIRE(desk.encode({"-o", desk.path("c/data"), desk.path("c")}).exit == 0);
    CHECK(documents(desk.folder / "c/data/train.safetensors") == 1);
  }
  check_refused(desk.encode({"-o", desk.path("c"), desk.path("c")}), 64, "is input and output");
}

// --- whose tokenizer is it?
// --------------------------------------------------------------------------

TEST_CASE("data of two tokenizers in one folder are refused, and data without one warned of") {
  const Desk desk;
  desk.pack("data");
  fs::copy_file(desk.folder / "other.model", desk.folder / "data/tokenizer.model",
                fs::copy_options::overwrite_existing);
  check_refused(desk.begin({"--data", desk.path("data"), "--steps", "1"}), 65,
                "data/train.safetensors: packed with tokenizer");
  fs::remove(desk.folder / "data/tokenizer.model");
  const auto result = desk.begin({"--data", desk.path("data"), "--steps", "1"});
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("data: has no tokenizer.model"));
  desk.pack("other", "other.model");
  fs::copy_file(desk.folder / "other/train.safetensors",
                desk.folder / "data/validation.safetensors");
  fs::remove_all(desk.folder / "run");
  check_refused(desk.begin({"--data", desk.path("data"), "--steps", "1"}), 65,
                "data/validation.safetensors: packed with tokenizer");
}

TEST_CASE("a run goes on with its own data, wherever they lie, and with no others") {
  const Desk desk;
  desk.pack("data");
  REQUIRE(desk.begin({"--data", desk.path("data"), "--steps", "1"}).exit == 0);
  // Moved.
  fs::rename(desk.folder / "data", desk.folder / "moved");
  check_refused(desk.train({"--resume", "--steps", "2"}), 66, "--data says where the data lie");
  CHECK(desk.train({"--resume", "--steps", "2", "--data", desk.path("moved")}).exit == 0);
  // The same texts in other order are other data.
  desk.put("a.txt", test::invented_text(4, 20000));
  desk.pack("data");
  check_refused(desk.train({"--resume", "--steps", "3"}), 65, "its data are other than those");
  // Another tokenizer is named as such.
  fs::remove_all(desk.folder / "data");
  desk.pack("data", "other.model");
  const auto before = io::read_text(desk.folder / "run/latest/tokenizer.model");
  check_refused(desk.train({"--resume", "--steps", "3"}), 65, "packed with tokenizer");
  CHECK(io::read_text(desk.folder / "run/latest/tokenizer.model") == before);
}

TEST_CASE("a model is not trained on with ids of another tokenizer") {
  const Desk desk;
  desk.pack("data");
  desk.pack("other", "other.model");
  REQUIRE(desk.begin({"--data", desk.path("data"), "--steps", "1"}).exit == 0);
  const Words from = {"--init-from",  desk.path("run/latest"),
                      "--seq-len",    "64",
                      "--batch-size", "1",
                      "--steps",      "1",
                      "-o",           desk.path("second")};
  auto wrong = from, right = from;
  wrong.insert(wrong.end(), {"--data", desk.path("other")});
  check_refused(desk.train(wrong), 65, "other/train.safetensors: packed with tokenizer");
  right.insert(right.end(), {"--data", desk.path("data")});
  CHECK(desk.train(right).exit == 0);
}

// --- a first start that failed
// -----------------------------------------------------------------------

TEST_CASE(
    "after a first start that failed the corrected command starts, with --resume or without") {
  const Desk desk;
  desk.pack("data");
  for (const bool resume : {false, true}) {
    fs::remove_all(desk.folder / "run");
    CHECK(desk.begin({"--data", desk.path("data"), "--steps", "1", "--seq-len", "1000000"}).exit ==
          65);
    Words again = {"--data", desk.path("data"), "--steps", "1"};
    if (resume) again.push_back("--resume");
    CHECK(desk.begin(again).exit == 0);
  }
}

TEST_CASE("a longer schedule says what becomes of the learning rate") {
  const Desk desk;
  desk.pack("data");
  REQUIRE(desk.begin({"--data", desk.path("data"), "--steps", "4", "--schedule", "linear",
                      "--warmup-steps", "1", "--min-lr-ratio", "0"})
              .exit == 0);
  const auto result = desk.train({"--resume", "--steps", "40"});
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("--steps 40 instead of 4: the schedule is drawn out"));
}

// --- weights
// -----------------------------------------------------------------------------------------

TEST_CASE("tensors that the configuration has no place for are refused, odd keys named") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "m");
  fs::remove(folder / "m/manifest.json");  // which would find the change
  auto config = nlohmann::json::parse(io::read_text(folder / "m/config.json"));
  const auto score = [&] {
    io::write_text(folder / "m/config.json", config.dump());
    return test::run({"lact-generate", "text", "--model", (folder / "m").string(), "--score", "-",
                      "--threads", "1"},
                     "ba ke li mo");
  };
  config["windw_size"] = 8;
  config["torch_dtype"] = "float32";
  const auto odd = score();
  CHECK(odd.exit == 0);
  CHECK_THAT(odd.err, Contains("not known and without effect: windw_size\n"));
  config.erase("windw_size");
  const int64_t layers = config["num_hidden_layers"];
  config["num_hidden_layers"] = layers - 1;
  check_refused(score(), 65, "the configuration has no place for");
}

TEST_CASE("a config.json that others publish is the model's configuration, whole") {
  const Desk desk;
  desk.pack("data");
  const auto vocabulary =
      text::PackedTokens::open(desk.folder / "data/train.safetensors").vocab_size();
  // As the published file of 760M parameters with momentum, of other sizes.
  desk.put("c.json", nlohmann::json{{"architectures", {"LaCTForCausalLM"}},
                                    {"attention_bias", false},
                                    {"hidden_size", 48},
                                    {"num_hidden_layers", 3},
                                    {"num_attn_heads", 2},
                                    {"num_lact_heads", 2},
                                    {"lact_chunk_size", 64},
                                    {"window_size", 64},
                                    {"w0_w2_low_rank", 4},
                                    {"model_type", "lact_swiglu"},
                                    {"vocab_size", 2 * vocabulary}}
                         .dump());
  REQUIRE(desk.train({"--model-config", desk.path("c.json"), "--data", desk.path("data"),
                      "--seq-len", "64", "--batch-size", "1", "--steps", "1"})
              .exit == 0);
  const auto config = nlohmann::json::parse(io::read_text(desk.folder / "run/latest/config.json"));
  CHECK(config.at("num_hidden_layers") == 3);
  CHECK(config.at("vocab_size") == 2 * vocabulary);
  CHECK(config.at("tie_word_embeddings") == false);  // published defaults, not a preset's
  CHECK(config.at("initializer_range") == 0.006);
  desk.put("no.json", "{\"a\": 1}");
  check_refused(desk.train({"--model-config", desk.path("no.json"), "--dry-run"}), 65,
                "no.json: no config.json of a language model");
}

TEST_CASE("transformers reads a checkpoint's configuration, and its tokenizer to the same ids") {
  const auto python = test::peers("transformers");
  if (!python) return;
  for (const char* type : {"unigram", "bpe"})
    for (const char* rule : {"identity", "nmt_nfkc_cf", "symbols"}) {
      CAPTURE(type, rule);
      const bool symbols = rule == "symbols"s;
      const Desk desk;
      desk.put("one.model",
               test::train_model(
                   {{"model_type", type},
                    {"user_defined_symbols", symbols ? "<sep>" : ""},
                    {"normalization_rule_name", symbols ? "identity" : rule},
                    {"remove_extra_whitespaces", rule == "nmt_nfkc_cf"s ? "true" : "false"}}));
      desk.put("t.txt", test::invented_text(9, 30000) +
                            "the  two  spaces,<sep>karo \u00dcBER \u4f60\u597d\n");
      desk.pack("data");
      REQUIRE(desk.begin({"--data", desk.path("data"), "--steps", "1"}).exit == 0);
      const auto result =
          test::run({*python, (test::source_root() / "tests/text/transformers_check.py").string(),
                     desk.path("run/latest"), desk.path("t.txt")});
      CAPTURE(result.err);
      CHECK(result.exit == 0);
      CHECK_THAT(result.out, Contains("texts agree"));
    }
}
