#pragma once
// What a state holds, of whatever modality: lact-generate --inspect-state.

#include <filesystem>
#include <string>

namespace lact::cli {

/// A page for people, or JSON. Errors: 65 if it is no state, 66 if it cannot be read
std::string inspect_state(const std::filesystem::path& file, bool json);

}  // namespace lact::cli
