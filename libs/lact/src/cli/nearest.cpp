#include <lact/cli/nearest.hpp>

#include <algorithm>
#include <numeric>

namespace lact::cli {
namespace {

/// Dashes that begin an option are not what was mistyped.
std::string bare(const std::string& word) {
  return word.substr(std::min(word.find_first_not_of('-'), word.size()));
}

/// Edits up to which a word of this many letters counts as the same; one in words of two to five.
size_t allowed(size_t letters) {
  return letters < 2 ? 0 : std::max<size_t>(1, letters / 3);
}

}  // namespace

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last.back();
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  const auto typed = bare(word);
  std::string best;
  size_t best_distance = 0;
  for (const auto& candidate : candidates) {
    const auto name = bare(candidate);
    const size_t longer = std::max(typed.size(), name.size());
    const size_t shorter = std::min(typed.size(), name.size());
    if (longer - shorter > allowed(longer)) continue;  // so long a word is never near
    const size_t distance = edit_distance(typed, name);
    if (distance > allowed(longer) || (!best.empty() && distance >= best_distance)) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates,
                         const std::string& otherwise) {
  const auto near = nearest(word, candidates);
  return near.empty() ? otherwise : "; did you mean " + near + "?";
}

}  // namespace lact::cli
