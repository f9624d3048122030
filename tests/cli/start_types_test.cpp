// lact-train of each modality, as a program, from the models that come along.

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

namespace lact::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr char kTetrahedron[] =
    "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n";

fs::path model_of(const std::string& name) {
  return source_root() / "examples/models" / name;
}

void succeed(const Words& words) {
  const auto result = run(words);
  CAPTURE(words, result.err);
  REQUIRE(result.exit == 0);
}

/// Data that a model of that modality is trained on.
void make_data(const std::string& modality, const TemporaryFolder& folder) {
  const auto data = (folder / "data").string(), source = (folder / "source").string();
  if (modality == "text") {
    std::string text;
    for (int i = 0; i < 200; ++i) text += concat("The ", i, "th line of a play. ");
    io::write_text(folder / "play.txt", text);
    succeed({"lact-tokenize", "text", "encode", (folder / "play.txt").string(), "-m",
             (model_of("plays") / "tokenizer.model").string(), "-o", data});
  } else if (modality == "views") {
    io::write_text(folder / "solid.obj", kTetrahedron);
    succeed({"lact-tokenize", "views", "objects", (folder / "solid.obj").string(), "--views", "4",
             "--size", "64", "-o", source});
    succeed({"lact-tokenize", "views", "pack", source, "--size", "64", "-o", data});
  } else {
    succeed({"lact-tokenize", "video", "pan", "--size", "16", "--frames", "8", "--count", "2",
             "--validation-count", "0", "-o", data});
  }
}

}  // namespace

TEST_CASE("training goes on from a checkpoint in every type of products") {
  struct Modality {
    std::string name, model;
    Words options;
  };
  const auto one = GENERATE(Modality{"text", "plays", {"--batch-size", "1", "--seq-len", "128"}},
                            Modality{"views",
                                     "objects",
                                     {"--batch-size", "1", "--views", "3", "--context-views", "2",
                                      "--min-context-views", "1", "--target-views", "1"}},
                            Modality{"video", "digits", {"--batch-size", "1", "--chunks", "2"}});
  const TemporaryFolder folder;
  make_data(one.name, folder);
  for (const std::string dtype : {"float32", "bfloat16"}) {
    const auto output = folder / dtype;
    Words words{"lact-train",
                one.name,
                "--init-from",
                model_of(one.model).string(),
                "--data",
                (folder / "data").string(),
                "-o",
                output.string(),
                "--steps",
                "1",
                "--warmup-steps",
                "0",
                "--eval-every",
                "0",
                "--threads",
                "1",
                "--dtype",
                dtype};
    words.insert(words.end(), one.options.begin(), one.options.end());
    CAPTURE(one.name, dtype);
    succeed(words);
    CHECK_FALSE(io::Checkpoint::open(output / "latest").names().empty());
  }
}

}  // namespace lact::test
