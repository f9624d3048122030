#pragma once
// What a set of packed data says of itself, whatever it holds: its two splits, where their files
// are, and what their metadata, checksums and lists say.
//
// Metadata of every file: lact.kind ("tokens", "views", "clips"), lact.version = "1", split.

#include <lact/io/checkpoint.hpp>
#include <lact/io/safetensors.hpp>

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>

namespace lact::packed {

inline constexpr std::array kSplits{"train", "validation"};

/// Where the files of a split begin: SPLIT.safetensors or its index in a folder; a file is itself.
/// Errors   66 saying which program makes them (`maker`)
std::filesystem::path find_split(const std::filesystem::path& where, const std::string& split,
                                 const char* maker);
/// A file of packed data by its name, or a folder with one of training data.
bool is_packed(const std::filesystem::path& where);

/// What a writer puts into every file; what the kind alone knows is added to it.
io::Metadata metadata(const std::string& kind, const std::string& split);
/// Errors   65 naming the file if its `lact.kind` is not `kind` or its version not "1"; `what` is
///          what it should hold ("packed scenes")
void check_kind(const io::SafeTensors& file, const std::string& kind, const char* what);
/// Errors   65 naming file and key, if it is missing
const std::string& metadata_text(const io::SafeTensors& file, const char* key);
/// Errors   65 naming file and key, if it is no number from `low` to `high`
int64_t metadata_number(const io::SafeTensors& file, const char* key, int64_t low = 1,
                        int64_t high = 1 << 20);

/// A list, as the bytes of a tensor U8 [n]. Names of files are bytes, too: what is no UTF-8 becomes
/// the replacement character.
std::string list_text(const nlohmann::json& list);
/// Its checksum is compared.
/// Errors   65 naming file and tensor
nlohmann::json read_list(const io::SafeTensors& file, const std::string& tensor);

/// A hash of what a split holds, of the checksums that its files have: the same wherever it lies
/// and however it is sharded. "" if they have none.
std::string identity(const std::filesystem::path& where, const std::string& split);

/// Compares every tensor of all files with its checksum, where there is one; reads all.
/// Errors   65 naming the tensor that is damaged
void verify(const io::Checkpoint& files);

}  // namespace lact::packed
