#pragma once
// Every parser of ours as one function of bytes, for the malformed inputs of malformed_test.cpp and
// for libFuzzer.

#include <lact/error.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace lact::fuzz {

struct Target {
  std::string name;
  /// Sound inputs, small: what mutations start from.
  std::vector<std::string> (*seeds)();
  /// Parses the bytes and uses all that was read. Errors: lact::Error with one of `refusals`, and
  /// nothing else.
  void (*attempt)(const std::string& bytes);
  std::vector<Exit> refusals;
  /// Words of the format, for libFuzzer's dictionary.
  std::vector<std::string> words;
};

const std::vector<Target>& targets();

/// True if the bytes were accepted, false if they were refused as they should be; whatever else is
/// thrown passes.
bool accepts(const Target& target, const std::string& bytes);

// What targets_*.cpp share.
std::vector<Target> io_targets();
std::vector<Target> pickle_targets();
std::vector<Target> config_targets();
std::vector<Target> text_targets();
std::vector<Target> media_targets();
std::vector<Target> views_targets();
std::vector<Target> video_targets();
std::vector<Target> model_targets();
/// A folder of this process, in memory where there is such a place; removed at its end.
const std::filesystem::path& scratch();
void put(const std::filesystem::path& file, const std::string& bytes);
std::string get(const std::filesystem::path& file);
/// Keeps the compiler from leaving out what nobody looks at.
void use(const void* data, size_t bytes);

}  // namespace lact::fuzz
