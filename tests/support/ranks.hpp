#pragma once
// Threads of this process as the ranks of a run.

#include <lact/dist/group.hpp>

#include <thread>
#include <vector>

namespace lact::test {

/// What each rank's work, which gets its dist::Group, returns.
template <class Work>
auto on_ranks(int count, const Work& work) {
  const auto groups = dist::of_threads(count);
  std::vector<decltype(work(*groups[0]))> results(groups.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < groups.size(); ++rank)
    threads.emplace_back([&, rank] { results[rank] = work(*groups[rank]); });
  for (auto& thread : threads) thread.join();
  return results;
}

}  // namespace lact::test
