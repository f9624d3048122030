#pragma once
// Runs of the toy task by lact-train: their command lines, and what they leave.

#include "support/launch.hpp"
#include "support/run_files.hpp"
#include "support/test.hpp"

#include <lact/io/checkpoint.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace lact::test {

/// The files of a run's last checkpoint, by their hashes.
inline std::map<std::string, std::string> checkpoint(const std::filesystem::path& run) {
  const auto folder = std::filesystem::canonical(run / "latest");
  CHECK(io::verify_checkpoint(folder).empty());
  return hashes(folder);
}

inline Launch::Words toy(const std::filesystem::path& run, Launch::Words more = {}) {
  Launch::Words words{"lact-train",
                      "toy",
                      "--plugin-dir",
                      (build_root() / "tests/train").string(),
                      "-o",
                      run.string(),
                      "--dtype",
                      "float32",
                      "--device",
                      "cpu",
                      "--threads",
                      "1",
                      "--micro-batches",
                      "4",
                      "--rows",
                      "32",
                      "--warmup-steps",
                      "5",
                      "--log-every",
                      "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// With bad steps, averages, evaluations and saves, in an order that knows no number of processes.
inline Launch::Words fixed(const std::filesystem::path& run, Launch::Words more = {}) {
  Launch::Words words = toy(run, {"--steps", "30", "--reduce-order", "fixed", "--nan-loss", "11,12",
                                  "--nan-gradient", "20", "--explosion", "25", "--ema", "0.9",
                                  "--eval-every", "7", "--eval-batches", "2", "--save-every", "5"});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace lact::test
