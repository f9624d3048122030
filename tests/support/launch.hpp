#pragma once
// A tool as several processes, as a launcher starts them on one machine.

#include "support/process.hpp"
#include "support/run_files.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lact::test {

class Launch {
 public:
  using Words = std::vector<std::string>;

  /// words: the tool's name and its arguments; those of some ranks can be other ones.
  Launch(int world, const Words& words, const std::map<int, Words>& others = {}) {
    const auto port = free_port(), count = std::to_string(world);
    for (int rank = 0; rank < world; ++rank) {
      const auto number = std::to_string(rank);
      processes.push_back(
          std::make_unique<Process>(others.count(rank) > 0 ? others.at(rank) : words, "",
                                    std::map<std::string, std::string>{{"RANK", number},
                                                                       {"WORLD_SIZE", count},
                                                                       {"LOCAL_RANK", number},
                                                                       {"LOCAL_WORLD_SIZE", count},
                                                                       {"MASTER_ADDR", "127.0.0.1"},
                                                                       {"MASTER_PORT", port}}));
    }
  }
  std::vector<Result> wait() {
    std::vector<Result> results;
    for (auto& process : processes) results.push_back(process->wait(std::chrono::seconds(120)));
    return results;
  }

  std::vector<std::unique_ptr<Process>> processes;
};

}  // namespace lact::test
