#pragma once
// Threads of this process as the ranks of a run.

#include <lact/dist/group.hpp>

#include <thread>
#include <type_traits>
#include <vector>

namespace lact::test {

/// What each rank's work, which gets its dist::Group, returns, if anything.
template <class Work>
auto on_ranks(int count, const Work& work) {
  using Result = std::invoke_result_t<Work, const dist::Group&>;
  constexpr bool kNothing = std::is_void_v<Result>;
  const auto groups = dist::of_threads(count);
  std::vector<std::conditional_t<kNothing, char, Result>> results(groups.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < groups.size(); ++rank)
    threads.emplace_back([&, rank] {
      if constexpr (kNothing)
        work(*groups[rank]);
      else
        results[rank] = work(*groups[rank]);
    });
  for (auto& thread : threads) thread.join();
  if constexpr (!kNothing) return results;
}

}  // namespace lact::test
