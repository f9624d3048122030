// How checkpoints are written so that a kill at any moment loses nothing: all files of a folder
// with a temporary name, each flushed; a manifest of them; the folder flushed and renamed; its
// parent flushed; then the link to it; and only then are old ones deleted.

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include "descriptor.hpp"
#include "written.hpp"

#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

namespace lact::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr int64_t kLeastMatrix = 4096;  // numbers that are worth a narrow type
constexpr int kManifestVersion = 1;
constexpr uint64_t kMaxManifestBytes = 10'000'000;
constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr std::string_view kStep = "step-";

fs::path temporary_beside(const fs::path& target) {
  return fs::path(target) += concat(".tmp.", ::getpid());
}

fs::path parent_of(const fs::path& target) {
  const auto parent = target.parent_path();
  return parent.empty() ? "." : parent;
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// NAME.tmp.PID, and NAME.tmp.PID.COUNT as AtomicFile makes them.
bool is_temporary(const std::string& name) {
  constexpr std::string_view kMark = ".tmp.";
  const auto at = name.rfind(kMark);
  if (at == name.npos || at == 0) return false;
  std::string_view rest(name);
  rest.remove_prefix(at + kMark.size());
  const auto dot = rest.find('.');
  return all_digits(rest.substr(0, dot)) && (dot == rest.npos || all_digits(rest.substr(dot + 1)));
}

/// N of "step-N", in the one way that we write it.
std::optional<int64_t> step_of(const std::string& name) {
  if (name.compare(0, kStep.size(), kStep) != 0) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kStep.size(), end, step);
  if (result.ec != std::errc() || result.ptr != end || step < 0) return std::nullopt;
  if (name != concat(kStep, step)) return std::nullopt;
  return step;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error))
    names.push_back(item->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(Exit::no_input, folder.string(), ": cannot read: ", error.message());
  return names;
}

/// Steps on disk, newest first.
std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const auto& name : names_in(folder))
    if (const auto step = step_of(name)) steps.push_back(*step);
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw Error(Exit::io, path.string(), ": cannot remove: ", error.message());
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw Error(Exit::io, to.string(), ": cannot rename: ", reason(errno));
}

/// First out of the way, so that a kill half way leaves no checkpoint that looks damaged.
void remove_checkpoint(const fs::path& folder) {
  const auto gone = temporary_beside(folder);
  remove_tree(gone);
  rename_or_throw(folder, gone);
  remove_tree(gone);
}

/// Bytes of a file, piece by piece.
template <class Take>
void read_pieces(const fs::path& file, Take&& take) {
  const Descriptor open(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!open) throw Error(Exit::no_input, file.string(), ": cannot open: ", reason(errno));
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    const ssize_t n = ::read(open.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(Exit::no_input, file.string(), ": cannot read: ", reason(errno));
    if (n == 0) return;
    take(piece.data(), static_cast<size_t>(n));
  }
}

Written hash_of(const fs::path& file) {
  Xxh3 hash;
  uint64_t bytes = 0;
  read_pieces(file, [&](const char* data, size_t size) {
    hash.update(data, size);
    bytes += size;
  });
  return {bytes, hash.digest()};
}

/// A file of a checkpoint, or of a folder in it.
bool is_place(const std::string& name) {
  const auto slash = name.find('/');
  return is_plain_name(name.substr(0, slash)) &&
         (slash == name.npos || is_plain_name(name.substr(slash + 1)));
}

/// A tensor to be stored, which may have to be put together first.
struct Item {
  std::string name;
  std::vector<int64_t> shape;
  at::ScalarType type;
  std::function<at::Tensor()> tensor;
  uint64_t bytes() const {
    uint64_t bytes = c10::elementSize(type);
    for (const int64_t size : shape) bytes *= static_cast<uint64_t>(size);
    return bytes;
  }
};

struct Shard {
  std::string name;
  std::vector<Item> items;
};

/// In the order given, each as full as the limit allows; a tensor is never cut.
std::vector<Shard> split(const std::string& name, const std::vector<Item>& items, uint64_t limit) {
  std::vector<Shard> shards(1);
  uint64_t filled = 0;
  for (const auto& item : items) {
    if (!shards.back().items.empty() && item.bytes() > limit - std::min(limit, filled)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().items.push_back(item);
    filled += item.bytes();
  }
  const auto dot = name.rfind('.');
  const auto stem = name.substr(0, dot), suffix = dot == name.npos ? "" : name.substr(dot);
  const auto five = [](size_t number) {
    const auto digits = std::to_string(number);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].name = shards.size() == 1
                         ? name
                         : concat(stem, "-", five(i + 1), "-of-", five(shards.size()), suffix);
  return shards;
}

}  // namespace

Writers::~Writers() = default;

CheckpointWriter::CheckpointWriter(fs::path target, const Writers* writers, When when)
    : target_(std::move(target)), work_(temporary_beside(target_)), writers_(writers), when_(when) {
  if (first()) {
    remove_tree(work_);  // of a process that had our number
    std::error_code error;
    if (!fs::create_directory(work_, error))
      throw Error(Exit::cannot_create, target_.string(), ": cannot create: ", error.message());
  }
  // Rank 0's name for it, which is there now.
  if (writers_ == nullptr) return;
  work_ = writers_->gather(first() ? work_.string() : std::string())[0];
  std::error_code error;
  if (!fs::is_directory(work_, error))
    throw Error(Exit::cannot_create, target_.string(), ": rank ", writers_->rank(),
                " does not see what rank 0 makes there: all processes need the same disk");
}

CheckpointWriter::~CheckpointWriter() {
  std::error_code ignored;
  if (first() && !work_.empty()) fs::remove_all(work_, ignored);
}

/// Of the next file of tensors.
bool CheckpointWriter::my_turn() {
  return writers_ == nullptr || turn_++ % writers_->size() == writers_->rank();
}

void CheckpointWriter::write(std::function<void()> job) {
  if (when_ == When::now)
    job();
  else
    jobs_.push_back(std::move(job));
}

fs::path CheckpointWriter::place(const std::string& name) {
  if (!is_place(name) || name == kManifest || !names_.insert(name).second)
    throw Error(Exit::internal, target_.string(), ": cannot hold ", printable(name), " (again)");
  const auto path = work_ / name;
  std::error_code error;
  fs::create_directory(path.parent_path(), error);
  if (error)
    throw Error(Exit::cannot_create, path.parent_path().string(),
                ": cannot create: ", error.message());
  return path;
}

void CheckpointWriter::tensors(const std::string& name, const NamedTensors& tensors,
                               const Metadata& metadata, uint64_t shard_bytes) {
  std::vector<Item> items;
  for (const auto& [key, tensor] : tensors) {
    Item item{key, tensor.sizes().vec(), tensor.scalar_type(),
              [tensor = tensor] { return tensor; }};
    if (whole_)
      if (const auto whole = whole_(key, tensor)) {
        item.shape = whole->shape;
        item.tensor = whole->tensor;
      }
    const bool wide = item.shape.size() >= 2 && c10::isFloatingType(item.type);
    if (matrices_ && wide && item.bytes() >= kLeastMatrix * c10::elementSize(item.type))
      item.type = *matrices_;
    items.push_back(std::move(item));
  }
  const auto shards = split(name, items, shard_bytes);
  uint64_t total = 0;
  auto map = nlohmann::json::object();
  for (const auto& shard : shards) {
    const auto path = place(shard.name);
    const bool mine = my_turn();
    NamedTensors stored;
    for (const auto& item : shard.items) {
      map[item.name] = fs::path(shard.name).filename().string();
      total += item.bytes();
      const auto tensor = item.tensor();  // all take part, and one keeps it
      if (!mine) continue;
      stored.emplace_back(item.name, tensor.detach().to(item.type));
      auto& last = stored.back().second;
      if (when_ == When::at_commit && last.storage().is_alias_of(tensor.storage()))
        last = last.to(last.options().device(at::kCPU), /*non_blocking=*/false, /*copy=*/true);
    }
    if (!mine) continue;
    write([this, path, metadata, name = shard.name, stored = std::move(stored)] {
      written_[name] = write_tensors(path, stored, metadata, /*checksums=*/true);
    });
  }
  if (shards.size() == 1) return;
  const nlohmann::json index{{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  file(name + ".index.json", index.dump(2) + "\n");
}

void CheckpointWriter::file(const std::string& name, std::string_view content) {
  const auto path = place(name);
  if (!first()) return;
  write([this, name, path, text = std::string(content)] {
    AtomicFile out(path);
    out.write(text);
    out.commit();
    written_[name] = {text.size(), xxh3(text.data(), text.size())};
  });
}

void CheckpointWriter::copy(const std::string& name, const fs::path& from) {
  const auto path = place(name);
  if (!first()) return;
  write([this, name, path, from] {
    AtomicFile out(path);
    Xxh3 hash;
    read_pieces(from, [&](const char* data, size_t bytes) {
      hash.update(data, bytes);
      out.write(data, bytes);
    });
    out.commit();
    written_[name] = {out.size(), hash.digest()};
  });
}

void CheckpointWriter::commit() {
  for (const auto& job : jobs_) job();
  jobs_.clear();
  if (writers_ != nullptr) gather_written();
  if (first()) put_in_place();
  work_.clear();
  // Nobody goes on before it is there: who resumes elsewhere finds what the others found.
  if (writers_ != nullptr) writers_->gather("");
}

/// All files are on disk, by what their writers say. Rank 0 looks whether it sees them.
void CheckpointWriter::gather_written() {
  auto mine = nlohmann::json::object();
  for (const auto& [name, written] : written_) mine[name] = {written.first, written.second};
  const auto said = writers_->gather(mine.dump());
  if (!first()) return;
  for (size_t rank = 1; rank < said.size(); ++rank) {
    const auto theirs = nlohmann::json::parse(said[rank]);
    for (const auto& [name, written] : theirs.items()) {
      std::error_code error;
      if (fs::file_size(work_ / name, error) != written[0].get<uint64_t>() || error)
        throw Error(Exit::io, target_.string(), ": rank ", rank, " has written ", name,
                    ", which rank 0 does not see: all processes need the same disk");
      written_[name] = {written[0], written[1]};
    }
  }
}

void CheckpointWriter::put_in_place() {
  auto files = nlohmann::json::object();
  for (const auto& [name, written] : written_)
    files[name] = {{"bytes", written.first}, {"xxh3", written.second}};
  const nlohmann::json manifest{{"files", files}, {"version", kManifestVersion}};
  write_text(work_ / kManifest, manifest.dump(2) + "\n");  // syncs the folder too
  std::error_code error;
  if (fs::exists(fs::symlink_status(target_, error))) {
    // A damaged or repeated step: exchanged in one go where the file system can, so that at no
    // moment there is none.
    if (::renameat2(AT_FDCWD, work_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
      const auto old = fs::path(target_) += concat(".tmp.", ::getpid(), ".0");
      remove_tree(old);
      rename_or_throw(target_, old);
      rename_or_throw(work_, target_);
      remove_tree(old);
    }
  } else {
    rename_or_throw(work_, target_);
  }
  sync_folder(parent_of(target_));
  remove_tree(work_);  // what was exchanged
}

void CheckpointStore::clean() {
  for (const auto& folder : {run_, run_ / "checkpoints"})
    for (const auto& name : names_in(folder))
      if (is_temporary(name)) remove_tree(folder / name);
}

CheckpointStore::CheckpointStore(fs::path run, const Writers* writers)
    : run_(std::move(run)), writers_(writers) {}

void check_model_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(folder, error))) {
    const auto parent = parent_of(folder);
    if (!fs::is_directory(parent, error))
      throw Error(Exit::cannot_create, folder.string(), ": no folder ", parent.string(),
                  ": make it first");
    return;
  }
  const auto refuse = [&](const std::string& what) {
    throw Error(Exit::cannot_create, folder.string(), ": is there, and ", what,
                ": name a new folder");
  };
  if (!fs::is_directory(folder, error)) refuse("is no folder");
  const auto names = names_in(folder);
  if (names.empty()) return;
  if (!fs::exists(folder / kManifest, error)) refuse("is no model that was exported");
  const auto manifest =
      nlohmann::json::parse(read_text(folder / kManifest, kMaxManifestBytes), nullptr, false);
  const auto files = manifest.is_object() ? manifest.value("files", nlohmann::json::object())
                                          : nlohmann::json::object();
  for (const auto& name : names)
    if (name == "trainer.json" || (name != kManifest && !files.contains(name)))
      refuse(concat("holds ", name, ", which would be lost"));
  if (!verify_file(folder, kModelCard).empty())
    refuse(concat("its ", kModelCard, " was changed, which would be lost"));
}

fs::path CheckpointStore::folder(int64_t step) const {
  return run_ / "checkpoints" / concat(kStep, step);
}

void CheckpointStore::save(int64_t step, int keep,
                           const std::function<void(CheckpointWriter&)>& fill) {
  const auto writer = begin(step, CheckpointWriter::When::now);
  fill(*writer);
  finish(*writer, step, keep);
}

std::unique_ptr<CheckpointWriter> CheckpointStore::begin(int64_t step,
                                                         CheckpointWriter::When when) {
  const auto parent = run_ / "checkpoints";
  std::error_code error;
  if (fs::create_directories(parent, error)) sync_folder(run_);
  if (error)
    throw Error(Exit::cannot_create, parent.string(), ": cannot create: ", error.message());
  return std::make_unique<CheckpointWriter>(folder(step), writers_, when);
}

void CheckpointStore::finish(CheckpointWriter& writer, int64_t step, int keep) {
  writer.commit();
  if (writers_ != nullptr && writers_->rank() != 0) return;
  point_latest(step);
  remove_old(step, keep);
}

void CheckpointStore::point_latest(int64_t step) const {
  const auto link = run_ / "latest", work = temporary_beside(link);
  std::error_code error;
  fs::remove(work, error);
  fs::create_directory_symlink(fs::path("checkpoints") / concat(kStep, step), work, error);
  if (error) throw Error(Exit::cannot_create, link.string(), ": cannot create: ", error.message());
  if (::rename(work.c_str(), link.c_str()) != 0) {
    const int cause = errno;
    fs::remove(work, error);
    throw Error(Exit::io, link.string(), ": cannot replace: ", reason(cause));
  }
  sync_folder(run_);
}

void CheckpointStore::remove_old(int64_t step, int keep) const {
  if (keep < 1) return;
  int kept = 0;
  for (const int64_t found : steps_in(run_ / "checkpoints")) {
    // Later than what was just saved: this run passed it over as damaged, or somebody went back on
    // purpose. Only the damaged are ours to delete.
    const bool later = found > step;
    if (later ? !verify_checkpoint(folder(found)).empty() : ++kept > keep)
      remove_checkpoint(folder(found));
  }
}

fs::path CheckpointStore::newest(const std::function<void(const std::string&)>& complain) const {
  auto steps = steps_in(run_ / "checkpoints");
  if (writers_ != nullptr)  // as rank 0 sees them
    steps = nlohmann::json::parse(writers_->gather(nlohmann::json(steps).dump())[0])
                .get<std::vector<int64_t>>();
  for (const int64_t step : steps) {
    std::vector<std::string> problems{verify_checkpoint(folder(step), writers_)};
    if (writers_ != nullptr) problems = writers_->gather(problems[0]);
    const auto problem = std::find_if(problems.begin(), problems.end(),
                                      [](const auto& one) { return !one.empty(); });
    if (problem == problems.end()) return folder(step);
    complain(concat(folder(step).string(), ": damaged, passed over: ", *problem));
  }
  return {};
}

namespace {

/// The damaged tensor, where the file has checksums: " (tensor NAME: ...)", else nothing.
std::string damaged_tensor(const fs::path& file) {
  if (file.extension() != ".safetensors") return "";
  try {
    const auto opened = SafeTensors::open(file);
    for (const auto& entry : opened.entries()) opened.verify(entry.name);
  } catch (const Error& error) {
    const std::string words = error.what(), name = file.string() + ": ";
    return concat(
        " (", words.compare(0, name.size(), name) == 0 ? words.substr(name.size()) : words, ")");
  }
  return "";
}

std::string compare(const fs::path& folder, const std::string& name, const nlohmann::json& want) {
  const bool known = want.is_object() && want.contains("bytes") &&
                     want["bytes"].is_number_unsigned() && want.contains("xxh3") &&
                     want["xxh3"].is_string();
  if (!is_place(name) || !known)
    return concat(kManifest, ": expected bytes and xxh3 of a file, found otherwise for ",
                  printable(name));
  if (!fs::is_regular_file(folder / name)) return printable(name) + ": is missing";
  const auto [bytes, hash] = hash_of(folder / name);
  if (bytes != want["bytes"].get<uint64_t>())
    return concat(printable(name), ": expected ", want["bytes"].get<uint64_t>(), " bytes, found ",
                  bytes);
  const auto& expected = want["xxh3"].get_ref<const std::string&>();
  if (hash != expected)
    return concat(printable(name), ": expected XXH3 ", printable(expected), ", found ", hash,
                  damaged_tensor(folder / name));
  return "";
}

/// The manifest's files. Errors: 65 if it is malformed.
nlohmann::json read_manifest(const fs::path& folder) {
  auto manifest = parse_json(read_text(folder / kManifest, kMaxManifestBytes), kManifest);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object())
    throw Error(Exit::data, kManifest, ": expected an object of files");
  if (manifest.value("version", nlohmann::json()) != kManifestVersion)
    throw Error(Exit::data, kManifest, ": expected version ", kManifestVersion);
  return std::move(manifest["files"]);
}

/// What the work returns, or the words of the error that it ends with.
template <class Work>
std::string in_words(const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    return error.what();
  } catch (const fs::filesystem_error& error) {
    return error.what();
  }
}

}  // namespace

std::string verify_checkpoint(const fs::path& folder, const Writers* readers) {
  return in_words([&]() -> std::string {
    if (!fs::is_regular_file(folder / kManifest)) return concat(kManifest, ": is missing");
    const auto files = read_manifest(folder);
    int64_t number = 0;
    for (const auto& [name, want] : files.items()) {
      if (name == kModelCard) continue;
      if (readers != nullptr && number++ % readers->size() != readers->rank()) continue;
      auto problem = compare(folder, name, want);
      if (!problem.empty()) return problem;
    }
    return "";
  });
}

std::string verify_file(const fs::path& folder, const std::string& name) {
  return in_words([&]() -> std::string {
    if (!fs::is_regular_file(folder / kManifest)) return "";
    const auto files = read_manifest(folder);
    const auto found = files.find(name);
    return found == files.end() ? "" : compare(folder, name, *found);
  });
}

}  // namespace lact::io
