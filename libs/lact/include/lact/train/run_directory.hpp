#pragma once
// A run directory's own files: its lock, run.toml, metrics.jsonl.

#include <lact/train/task.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace lact::train {

/// The directory, held by this process alone until destroyed.
class RunDirectory {
 public:
  /// Makes the folder if there is none and takes RUN/lock (flock: it goes with the process).
  /// Errors   73 if it cannot be made, 75 if another process holds it
  explicit RunDirectory(std::filesystem::path folder);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// A run got somewhere here: there is a checkpoint, or a line of metrics. A start that failed
  /// before its first step leaves nothing worth keeping.
  bool holds_run() const;
  bool holds_checkpoint() const;
  /// run.toml. Errors: 66 if it is missing
  std::string config() const;
  void write_config(const std::string& toml) const;

 private:
  std::filesystem::path folder_;
  int lock_ = -1;
};

/// metrics.jsonl, written line by line.
class MetricsFile {
 public:
  /// Opens it for appending, after cutting it (whole or not at all) to the lines of steps up to
  /// `step`; what a kill tore off in the middle of a line goes too.
  MetricsFile(std::filesystem::path file, int64_t step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  /// Numbers that are not finite become null. Errors: 74
  void write(const nlohmann::ordered_json& line);
  /// Makes the lines durable.
  void sync();
  /// The last evaluation in the file.
  struct Evaluation {
    int64_t step = -1;  ///< none
    Metrics metrics;
  };
  const Evaluation& last_evaluation() const { return last_; }

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
  Evaluation last_;
};

}  // namespace lact::train
