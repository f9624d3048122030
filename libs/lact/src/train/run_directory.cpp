#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/train/run_directory.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

namespace lact::train {
namespace {

void note(const nlohmann::json& line, MetricsFile::Evaluation& last) {
  if (!line.contains("validation_metrics/loss")) return;
  last = {line["step"], {}};
  for (const auto& [name, value] : line.items())
    if (name.rfind("validation_metrics/", 0) == 0 && value.is_number()) last.metrics[name] = value;
}

/// The lines of steps up to `step`, and the last evaluation among them.
std::string kept_lines(const std::string& text, int64_t step, MetricsFile::Evaluation& last) {
  std::string kept;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line) && !in.eof();) {  // eof: no newline, torn
    const auto values = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!values.is_object() || !values.contains("step") || !values["step"].is_number_integer())
      continue;
    const int64_t at = values["step"];
    if (at > step) continue;
    note(values, last);
    kept += line + "\n";
  }
  return kept;
}

/// Says in the lock who holds it. Only a courtesy: it locks as well on a full disk.
void sign(int lock) {
  const auto text = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock, 0) == 0) (void)!::pwrite(lock, text.data(), text.size(), 0);
}

/// ": process 1234", or "" if it does not say.
std::string signature(int lock) {
  char text[24];
  const ssize_t size = ::pread(lock, text, sizeof text, 0);
  const std::string line(text, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  const auto digits = line.substr(0, line.find('\n'));
  const bool whole = digits.size() < line.size() && !digits.empty() &&
                     digits.find_first_not_of("0123456789") == std::string::npos;
  return whole ? ": process " + digits : "";
}

}  // namespace

RunDirectory::RunDirectory(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) throw Error(Exit::cannot_create, folder_.string(), ": ", error.message());
  const auto lock = folder_ / "lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw Error(Exit::cannot_create, lock.string(), ": ", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) {
    sign(lock_);
    return;
  }
  const int why = errno;
  const auto holder = why == EWOULDBLOCK ? signature(lock_) : "";
  ::close(lock_);
  if (why == EWOULDBLOCK)
    throw Error(Exit::stopped, folder_.string(), ": another process is training here", holder);
  throw Error(Exit::cannot_create, lock.string(), ": ", std::strerror(why));
}

RunDirectory::~RunDirectory() {
  (void)!::ftruncate(lock_, 0);
  ::close(lock_);
}

bool RunDirectory::holds_checkpoint() const {
  std::error_code none;
  for (const auto& item : std::filesystem::directory_iterator(folder_ / "checkpoints", none))
    if (item.path().filename().string().rfind("step-", 0) == 0) return true;
  return false;
}

bool RunDirectory::holds_run() const {
  std::error_code none;
  const auto lines = std::filesystem::file_size(folder_ / "metrics.jsonl", none);
  return (!none && lines > 0) || holds_checkpoint();
}

std::string RunDirectory::config() const {
  return io::read_text(folder_ / "run.toml");
}

void RunDirectory::write_config(const std::string& toml) const {
  io::write_text(folder_ / "run.toml", toml);
}

MetricsFile::MetricsFile(std::filesystem::path file, int64_t step) : file_(std::move(file)) {
  if (std::filesystem::exists(file_)) {
    const auto text = io::read_text(file_);
    const auto kept = kept_lines(text, step, last_);
    if (kept != text) io::write_text(file_, kept);
  }
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw Error(Exit::cannot_create, file_.string(), ": ", std::strerror(errno));
}

MetricsFile::~MetricsFile() {
  ::close(descriptor_);
}

void MetricsFile::write(const nlohmann::ordered_json& line) {
  const auto text = line.dump() + "\n";
  io::write_all(descriptor_, text.data(), text.size(), file_.string());
  note(line, last_);
}

void MetricsFile::sync() {
  if (::fsync(descriptor_) != 0) throw Error(Exit::io, file_.string(), ": ", std::strerror(errno));
}

}  // namespace lact::train
