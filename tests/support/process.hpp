#pragma once
// Runs the real tools as real processes.

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lact::test {

struct Result {
  int exit = -1;    ///< exit code, or 128 + signal
  std::string out;  ///< stdout
  std::string err;  ///< stderr
};

/// A program under way. argv[0] without a slash means a tool of this build ("lact-train").
class Process {
 public:
  explicit Process(std::vector<std::string> argv, std::string input = {},
                   std::map<std::string, std::string> environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  void signal(int number);
  bool running();
  pid_t pid() const;
  /// Waits for the end; kills it (exit 137) when the time is over.
  Result wait(std::chrono::seconds limit = std::chrono::seconds(300));

 private:
  struct Impl;
  Impl* impl_;
};

Result run(std::vector<std::string> argv, std::string input = {},
           std::map<std::string, std::string> environment = {});

/// The interpreter of `./dev setup peers` if it has this package; else a word, and nothing.
std::optional<std::string> peers(const std::string& package);

}  // namespace lact::test
