#include "text_reader.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace lact::text {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 10;

}  // namespace

TextReader::TextReader(const spm::Tokenizer& tokenizer, bool continued)
    : tokenizer_(&tokenizer), first_(!continued) {}

TextReader::TextReader(TextReader&& other) noexcept
    : tokenizer_(other.tokenizer_),
      name_(std::move(other.name_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      first_(other.first_),
      complete_(other.complete_),
      ended_(other.ended_),
      rest_(std::move(other.rest_)),
      at_(other.at_),
      ids_(std::move(other.ids_)),
      bytes_(other.bytes_),
      total_bytes_(other.total_bytes_),
      tee_(std::move(other.tee_)) {}

TextReader::~TextReader() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

TextReader TextReader::from_text(const spm::Tokenizer& tokenizer, std::string text,
                                 bool continued) {
  TextReader reader(tokenizer, continued);
  reader.rest_ = std::move(text);
  reader.total_bytes_ = reader.rest_.size();
  reader.complete_ = true;
  return reader;
}

TextReader TextReader::from_file(const spm::Tokenizer& tokenizer, const std::filesystem::path& file,
                                 bool continued) {
  TextReader reader(tokenizer, continued);
  const bool stdin_too = file == "-";
  reader.name_ = stdin_too ? "stdin" : file.string();
  reader.descriptor_ = stdin_too ? STDIN_FILENO : ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (reader.descriptor_ < 0) throw Error(Exit::no_input, reader.name_, ": ", std::strerror(errno));
  struct stat info {};
  if (::fstat(reader.descriptor_, &info) == 0) {
    if (S_ISDIR(info.st_mode)) throw Error(Exit::no_input, reader.name_, ": is a folder");
    if (S_ISREG(info.st_mode)) reader.total_bytes_ = static_cast<uint64_t>(info.st_size);
  }
  return reader;
}

/// Reads another block; false if a signal asks to stop.
bool TextReader::fill() {
  rest_.erase(0, at_);
  at_ = 0;
  const size_t held = rest_.size();
  rest_.resize(held + kBlockBytes);
  ssize_t count;
  do {
    if (cli::stop_requested()) {
      rest_.resize(held);
      return false;
    }
    count = ::read(descriptor_, rest_.data() + held, kBlockBytes);
  } while (count < 0 && errno == EINTR);
  if (count < 0) throw Error(Exit::io, name_, ": ", std::strerror(errno));
  rest_.resize(held + static_cast<size_t>(count));
  complete_ = count == 0;
  return true;
}

/// Encodes another segment; false at the end.
bool TextReader::more() {
  while (!ended_) {
    const auto rest = std::string_view(rest_).substr(at_);
    if (complete_ && rest.empty()) {
      ended_ = true;
      break;
    }
    const size_t length = tokenizer_->next_segment(rest, complete_);
    if (length > 0) {
      if (tee_) tee_(rest.substr(0, length));
      tokenizer_->encode_segment(rest.substr(0, length), first_, complete_ && length == rest.size(),
                                 ids_);
      first_ = false;
      at_ += length;
      bytes_ += length;
      return true;
    }
    if (!fill()) return false;
  }
  return false;
}

std::vector<int32_t> TextReader::next(size_t count) {
  // One more than asked for: the last id may still be joined with the next segment's first.
  while (ids_.size() <= count && more()) {
  }
  const size_t taken = std::min(ids_.size(), count);
  std::vector<int32_t> ids(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(taken));
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(taken));
  return ids;
}

}  // namespace lact::text
