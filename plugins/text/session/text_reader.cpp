#include "text_reader.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <algorithm>

namespace lact::text {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 10;

}  // namespace

TextReader::TextReader(const spm::Tokenizer& tokenizer, bool continued)
    : tokenizer_(&tokenizer), first_(!continued) {}

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
  reader.name_ = shown(file.string());
  // A pipe may have nothing to say yet; who asks to stop meanwhile has what was before it.
  try {
    (void)cli::stop_requested();  // from here on a signal is heard
    reader.source_ = open_bytes(file.string());
  } catch (const cli::Interrupted&) {
    reader.ended_ = true;
    return reader;
  }
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (!error) reader.total_bytes_ = size;
  return reader;
}

/// Reads another block; false if a signal asks to stop.
bool TextReader::fill() {
  rest_.erase(0, at_);
  at_ = 0;
  const size_t held = rest_.size();
  rest_.resize(held + kBlockBytes);
  size_t count = 0;
  try {
    if (cli::stop_requested()) throw cli::Interrupted();
    count = source_->read(rest_.data() + held, kBlockBytes);
  } catch (const cli::Interrupted&) {
    rest_.resize(held);
    return false;
  }
  rest_.resize(held + count);
  complete_ = count == 0;
  if (bytes_ == 0 && held == 0) check_form(name_, rest_);
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
