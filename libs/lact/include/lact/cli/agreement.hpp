#pragma once
// What the processes of a run agree on when they have met.

#include <lact/dist/group.hpp>

#include <string>
#include <vector>

namespace lact::cli {

/// The lines of a `Context::resolved_config` that all need alike. A random seed is another on each
/// rank, and rank 0's counts; a network interface has the name that its machine gives it.
std::string common_lines(const std::string& config);

/// `all`: what each rank has, in lines.
/// Errors   78 naming a rank and the line in which its `what` is another than rank 0's
void require_same(const std::vector<std::string>& all, const char* what);

/// Cores for each process, one at least: those it may use, and of those that others of its machine
/// may use too its share. So neither a launcher that binds each process to cores of its own nor one
/// that does not makes them compete. All get as many as the one that has fewest, because results
/// depend on the number of threads.
int cores_each(const dist::Group& group);
/// `cores` of each rank: a word for its machine, a space, and "0110" if it may use cores 1 and 2.
int cores_each(const std::vector<std::string>& cores);

}  // namespace lact::cli
