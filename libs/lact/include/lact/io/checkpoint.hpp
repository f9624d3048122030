#pragma once
// Model directories in Hugging Face's layout, and the protocol by which a run's checkpoints are
// written so that a kill at any moment loses nothing. Names to tensors; knows no model.

#include <lact/io/json.hpp>
#include <lact/io/safetensors.hpp>

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lact::io {

struct NamedPickle;

/// A set of named tensors in one file or many shards, memory-mapped.
///
/// `location` is one of: a *.safetensors file; a *.index.json; a model directory
/// (model.safetensors, or diffusers' diffusion_pytorch_model.safetensors, or pytorch_model.bin, or
/// the .index.json of one of them with its shards, or a single file under another name); a run
/// directory, which means its `latest` checkpoint; a *.pt, *.pth, *.ckpt or *.bin file of
/// torch.save (its dict, or the dict "model" or "state_dict" in it) or of pickled NumPy arrays, of
/// which nothing is executed (lact/io/pickle.hpp). Dicts in dicts give names with dots; what
/// compiled, recomputed and parallel modules put into names is removed:
/// `_orig_mod.`, `_checkpoint_wrapped_module.`, a leading `module.`.
///
/// Errors     66 if missing, 65 if malformed (a shard that lacks a tensor of the index, a name
///            twice), or as read_pickle()
class Checkpoint {
 public:
  static Checkpoint open(const std::filesystem::path& location);

  /// The directory that holds it, symbolic links resolved: side files lie here.
  const std::filesystem::path& folder() const;
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// A view of the mapping, where that has it in order; not to be written to.
  at::Tensor tensor(const std::string& name) const;
  /// Of a pickled tensor `begin` is 0.
  const SafeTensors::Entry& entry(const std::string& name) const;
  /// The file that a tensor lies in. Errors: 65 if there is no such tensor, or it is pickled
  const SafeTensors& file_of(const std::string& name) const;
  /// "key: value" pairs of the (first) file; none of a pickle.
  const Metadata& metadata() const;

  /// config.json of the folder. Errors: 66 if there is none, 65 if it is not a JSON object, and as
  /// side_file().
  nlohmann::json config() const;
  /// A side file's path (tokenizer.model, ...), or empty if there is none.
  /// Errors   65 if there is a manifest, and the file is not what it was when that was written
  std::filesystem::path side_file(const std::string& name) const;

  /// XXH3 over names, dtypes, shapes and bytes in name order: the same however it is sharded.
  std::string hash() const;

 private:
  void open_shards(const std::filesystem::path& index);
  void open_pickled_shards(const std::filesystem::path& index,
                           const std::map<std::string, std::string>& shards);
  void take_pickles(std::map<std::string, NamedPickle> pickles);
  const NamedPickle* pickled(const std::string& name) const;

  std::filesystem::path folder_;
  std::vector<SafeTensors> files_;
  std::map<std::string, size_t> where_;
  std::shared_ptr<const std::map<std::string, NamedPickle>> pickles_;  // instead of files_
};

/// Processes that write and read checkpoints together, in a folder that all see, by the same calls
/// in the same order.
class Writers {
 public:
  virtual ~Writers();
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What each says, by rank.
  virtual std::vector<std::string> gather(const std::string& said) const = 0;
};

/// One checkpoint being written: a temporary folder beside its target. Files are checked, flushed
/// and listed with size and XXH3 in manifest.json, which is written last; then the folder is
/// renamed. Destroyed without commit() it removes itself.
///
/// Of several writers each writes every size()th file of tensors, and rank 0 all others. It commits
/// once all have said that theirs are on disk: the bytes do not depend on how many there are.
class CheckpointWriter {
 public:
  enum class When { now, at_commit };

  /// `at_commit`: until then tensors are kept as copies in the host's memory, so that their
  /// owner can change them, and another thread can commit.
  explicit CheckpointWriter(std::filesystem::path target, const Writers* writers = nullptr,
                            When when = When::now);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// A safetensors file of the checkpoint, `NAME` or `FOLDER/NAME`. Sharded
  /// (`NAME-0000i-of-0000n.safetensors` and an index, as Hugging Face does) if larger than
  /// `shard_bytes`.
  void tensors(const std::string& name, const NamedTensors& tensors, const Metadata& metadata,
               uint64_t shard_bytes = uint64_t{5} << 30);
  /// How a tensor of which this process has a part is made whole, by all processes in one order.
  struct Whole {
    std::vector<int64_t> shape;
    std::function<at::Tensor()> tensor;
  };
  /// From here on `whole` is asked for each tensor by name; none: it is whole.
  using Completion = std::function<std::optional<Whole>(const std::string&, const at::Tensor&)>;
  void complete_by(Completion whole) { whole_ = std::move(whole); }
  /// Tensors of two or more dimensions and at least 4096 numbers are stored in this type from here
  /// on: matrices, and not what a few numbers decide.
  void store_matrices_in(at::ScalarType dtype) { matrices_ = dtype; }
  void file(const std::string& name, std::string_view content);
  void copy(const std::string& name, const std::filesystem::path& from);
  /// Manifest, fsync, rename, fsync of the parent.
  /// Errors   74 if a file that another process wrote is not here
  void commit();

 private:
  std::filesystem::path place(const std::string& name);
  bool first() const { return writers_ == nullptr || writers_->rank() == 0; }
  bool my_turn();
  void write(std::function<void()> job);
  void gather_written();
  void put_in_place();

  std::filesystem::path target_, work_;
  const Writers* writers_;
  When when_;
  int64_t turn_ = 0;
  std::set<std::string> names_;
  std::vector<std::function<void()>> jobs_;  ///< at commit
  std::map<std::string, std::pair<uint64_t, std::string>> written_;
  std::optional<at::ScalarType> matrices_;
  Completion whole_;
};

/// Of a model directory: for its author to go on with, so a checkpoint in which it was changed is
/// whole.
constexpr const char* kModelCard = "README.md";

/// That a CheckpointWriter may write there, which takes the place of what is there.
/// Errors   73 if something is there that is neither empty nor a checkpoint, its card was changed,
/// or the parent is missing
void check_model_folder(const std::filesystem::path& folder);

/// The checkpoints of a run: RUN/checkpoints/step-N, and RUN/latest, a link to the newest.
class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path run, const Writers* writers = nullptr);

  /// Removes what a killed writer left behind.
  void clean();
  /// Writes step-N by `fill`, points `latest` at it, then deletes all but the newest `keep` (with 0
  /// it deletes nothing) and later steps that are damaged. A step-N that exists is replaced.
  void save(int64_t step, int keep, const std::function<void(CheckpointWriter&)>& fill);
  /// The same in two parts, of which another thread can do the second.
  std::unique_ptr<CheckpointWriter> begin(int64_t step, CheckpointWriter::When when);
  void finish(CheckpointWriter& writer, int64_t step, int keep);
  /// The newest checkpoint whose files all match its manifest, or empty if there is none. Damaged
  /// ones are passed over, each with one line to `complain`.
  std::filesystem::path newest(const std::function<void(const std::string&)>& complain) const;
  std::filesystem::path folder(int64_t step) const;

 private:
  void point_latest(int64_t step) const;
  void remove_old(int64_t step, int keep) const;

  std::filesystem::path run_;
  const Writers* writers_;
};

/// Compares every file of a checkpoint with its manifest: "" if all match, else what does not, by
/// file and tensor. Of several readers each has every size()th file.
std::string verify_checkpoint(const std::filesystem::path& folder,
                              const Writers* readers = nullptr);
/// The same for one file, which a folder without a manifest, or a manifest without it, vouches for.
std::string verify_file(const std::filesystem::path& folder, const std::string& name);

}  // namespace lact::io
