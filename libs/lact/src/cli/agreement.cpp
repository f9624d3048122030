#include <lact/cli/agreement.hpp>

#include "internal.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

namespace lact::cli {
namespace {

/// The same for all processes that share cores: containers have names of their own, but one kernel.
std::string machine() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

/// Of the cores that a rank may use, with their machine.
std::vector<std::string> names(const std::string& cores) {
  const auto first = cores.find(' ') + 1;
  std::vector<std::string> all;
  for (size_t i = first; i < cores.size(); ++i)
    if (cores[i] == '1') all.push_back(concat(cores.substr(0, first), i));
  return all;
}

}  // namespace

std::string common_lines(const std::string& config) {
  std::string kept;
  std::istringstream lines(config);
  for (std::string line; std::getline(lines, line);)
    if (line.rfind("seed =", 0) != 0 && line.rfind("comm-interface =", 0) != 0) kept += line + "\n";
  return kept;
}

void require_same(const std::vector<std::string>& all, const char* what) {
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    std::istringstream first(all[0]), other(all[rank]);
    std::string a, b;
    while (a == b) {
      if (!std::getline(first, a)) a = "(nothing)";
      if (!std::getline(other, b)) b = "(nothing)";
    }
    throw Error(Exit::config, "rank ", rank, " has other ", what, " than rank 0: ", b, ", not ", a);
  }
}

int cores_each(const dist::Group& group) {
  std::string mine = machine() + " ";
  for (const bool usable : usable_cores()) mine += usable ? '1' : '0';
  return cores_each(group.gather(mine));
}

int cores_each(const std::vector<std::string>& cores) {
  std::map<std::string, int> users;
  for (const auto& one : cores)
    for (const auto& core : names(one)) ++users[core];
  double fewest = INFINITY;
  for (const auto& one : cores) {
    double share = 0;
    for (const auto& core : names(one)) share += 1.0 / users[core];
    fewest = std::min(fewest, share);
  }
  return std::max(1, static_cast<int>(fewest + 1e-6));  // three thirds may add up to less than one
}

}  // namespace lact::cli
