#pragma once
// "Did you mean": the known word that a mistyped one is nearest to.

#include <string>
#include <vector>

namespace lact::cli {

/// The least number of insertions, deletions, replacements and exchanges of neighbours that turn
/// `a` into `b`, no place touched twice (Damerau-Levenshtein, optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b);

/// The candidate nearest to `word`, the first of several; "" if all are further away than a third
/// of the letters: that is another word, and a wrong guess helps nobody.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

/// "; did you mean --model?" for the end of an error, or `otherwise` if nothing is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates,
                         const std::string& otherwise = "");

}  // namespace lact::cli
