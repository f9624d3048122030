#pragma once
// Files of one split of packed data: one, or many with an index. They appear together.

#include <lact/io/safetensors.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::packed {

constexpr uint64_t kShardBytes = uint64_t{4} << 30;

/// Writes SPLIT.safetensors, or SPLIT-0000i-of-0000n.safetensors with SPLIT.safetensors.index.json,
/// tensor after tensor in constant memory. Nothing appears before commit(); without it nothing
/// stays.
class Shards {
 public:
  /// Errors   73 if the folder cannot be written to; here and below 74 if a write fails
  Shards(std::filesystem::path folder, std::string split);
  ~Shards();
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  /// Begins a file, with so much room for its header. That before it was closed.
  void open(size_t header_bytes = 4096);
  bool is_open() const;
  /// A tensor of the open file, and its bytes: as io::SafeTensorsStream.
  void begin(const std::string& tensor, const std::string& dtype,
             const std::vector<int64_t>& row = {});
  void append(const void* data, size_t bytes);
  /// Of tensors of the open file, so far.
  uint64_t bytes() const;
  /// The open file is on the disk, under another name.
  void close(const io::Metadata& metadata);

  /// All is on the disk, under other names. `about` joins "total_size" in the index, if there is
  /// one.
  void seal(const nlohmann::json& about);
  /// Makes the files appear, and removes those of an earlier run that do not belong to these.
  void commit();
  /// Removes what an earlier run left of a split that this one does not have.
  static void remove(const std::filesystem::path& folder, const std::string& split);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Makes the splits of a set appear; a disk that is full leaves all files of an earlier run.
/// Training data come last: where they are, the others are. Without validation data, those of an
/// earlier run go.
/// `train`, `validation`: anything with seal() and commit(); `validation` may be null.
template <class Writer>
void commit(const std::filesystem::path& folder, Writer& train, Writer* validation) {
  if (validation != nullptr) validation->seal();
  train.seal();
  if (validation != nullptr)
    validation->commit();
  else
    Shards::remove(folder, "validation");
  train.commit();
}

}  // namespace lact::packed
