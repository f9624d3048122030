// What 0.1.0 wrote before its rooms were arranged anew (make.sh) is still read, with the same
// results.

#include "support/process.hpp"
#include "support/test.hpp"

#include <plugins/common/media/image.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

using namespace lact;
using namespace lact::test;

namespace {

namespace fs = std::filesystem;

/// A copy of one modality's files, to work in.
class Old {
 public:
  explicit Old(const std::string& modality) {
    fs::copy(source_root() / "tests/formats" / modality, folder_.path(),
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }

  /// stdout of a tool that runs in the folder.
  std::string out_of(const std::string& tool, const std::string& words) const {
    const auto result =
        run({"/bin/sh", "-c", "cd \"$1\" && exec \"$0\" " + words + " --threads 1 --quiet",
             (build_root() / "tools" / tool).string(), folder_.path().string()},
            {}, {{"ATEN_CPU_CAPABILITY", "default"}, {"MKL_CBWR", "COMPATIBLE"}});
    INFO(words << ": " << result.err);
    REQUIRE(result.exit == 0);
    return result.out;
  }

  fs::path operator/(const std::string& name) const { return folder_ / name; }
  std::string text(const std::string& name) const { return io::read_text(folder_ / name); }

  /// The rounding of a product may differ between processors and compilers, and nothing else.
  /// Gradients of the views' inner rates are hardly more than rounding, and AdamW takes a step of
  /// full length in their direction.
  void check_same_tensors(const std::string& got, const std::string& want) const {
    const auto a = io::SafeTensors::open(folder_ / got), b = io::SafeTensors::open(folder_ / want);
    REQUIRE(a.entries().size() == b.entries().size());
    for (const auto& entry : b.entries()) {
      CAPTURE(entry.name);
      const double bound = entry.name.find("lr_fc") == std::string::npos ? 1e-4 : 0.1;
      CHECK(scaled_error(a.tensor(entry.name), b.tensor(entry.name)) < bound);
    }
  }
  void check_same_picture(const std::string& got, const std::string& want) const {
    CAPTURE(got, want);
    const auto a = media::read_image(folder_ / got), b = media::read_image(folder_ / want);
    REQUIRE(a.width == b.width);
    REQUIRE(a.height == b.height);
    REQUIRE(a.pixels.size() == b.pixels.size());
    int off = 0;
    for (size_t i = 0; i < a.pixels.size(); ++i)
      off = std::max(off, std::abs(a.pixels[i] - b.pixels[i]));
    CHECK(off <= 1);
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("an old run that was interrupted goes on to the parameters of one that was not",
          "[formats]") {
  const std::string modality = GENERATE("text", "views", "video");
  CAPTURE(modality);
  const Old old(modality);
  REQUIRE(old.text("run/run.toml").find("steps = 6") != std::string::npos);
  old.out_of("lact-train", modality + " --resume -o run");
  CHECK(fs::read_symlink(old / "run/latest") == "checkpoints/step-6");
  old.check_same_tensors("run/latest/model.safetensors", "final.safetensors");
}

TEST_CASE("an old run.toml begins a new run of the same parameters", "[formats]") {
  const std::string modality = GENERATE("text", "views", "video");
  CAPTURE(modality);
  const Old old(modality);
  // Models from scratch begin otherwise now, unless they are told not to.
  const std::string begin = modality == "views"  ? " --input-init plain"
                            : modality == "text" ? " --initializer-range 0.02"
                                                 : "";
  old.out_of("lact-train", modality + begin + " --config run/run.toml -o again");
  old.check_same_tensors("again/latest/model.safetensors", "final.safetensors");
  const auto settings = old.text("again/run.toml");
  for (const char* gone : {"input-views", "input_views", "nano"})
    CHECK(settings.find(gone) == std::string::npos);
}

TEST_CASE("an old text state is continued and scored as it was", "[formats]") {
  const Old old("text");
  const std::string resumed = "text --model run --state continued.state ";
  CHECK(old.out_of("lact-generate", resumed + "-n 24 --temp 0") == old.text("continued.txt"));
  const auto got =
      nlohmann::json::parse(old.out_of("lact-generate", resumed + "--score b.txt --json"));
  const auto want = nlohmann::json::parse(old.text("score.json"));
  CHECK(got.at("tokens") == want.at("tokens"));
  CHECK(got.at("loss").get<double>() == Approx(want.at("loss").get<double>()).epsilon(1e-6));
}

TEST_CASE("an old scene is rendered as it was", "[formats]") {
  const Old old("views");
  old.out_of("lact-render",
             "views --model run --state scene.state --path turntable:2 -o new-%d.png");
  for (const char* frame : {"0", "1"})
    old.check_same_picture(concat("new-", frame, ".png"), concat("turntable-", frame, ".png"));
}

TEST_CASE("an old film goes on as it did", "[formats]") {
  const Old old("video");
  old.out_of("lact-generate", "video --model run --state film.state -n 4 --steps 4 -o new-%d.png");
  for (const char* frame : {"4", "5", "6", "7"})
    old.check_same_picture(concat("new-", frame, ".png"), concat("film-", frame, ".png"));
}
