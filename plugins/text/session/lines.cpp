#include "lines.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <algorithm>
#include <string_view>

namespace lact::text {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr size_t kLimit = size_t{32} << 20;  // JSON is held several times over while it is read

}  // namespace

Lines::Lines(const std::string& file) : name_(shown(file)), source_(open_bytes(file)) {}

std::string Lines::where() const {
  return concat(name_, ":", number_);
}

/// Reads another block; false at the end.
bool Lines::fill() {
  buffer_.erase(0, at_);
  searched_ -= at_;
  at_ = 0;
  const size_t held = buffer_.size();
  buffer_.resize(held + kBlockBytes);
  if (cli::stop_requested()) throw cli::Interrupted();
  const size_t count = source_->read(buffer_.data() + held, kBlockBytes);
  buffer_.resize(held + count);
  return count > 0;
}

bool Lines::next(std::string& line) {
  for (;;) {
    size_t end = buffer_.find('\n', searched_);
    if (end == std::string::npos) {
      searched_ = buffer_.size();
      if (buffer_.size() - at_ > kLimit)
        throw Error(Exit::data, name_, ":", number_ + 1, ": a line of more than ", kLimit >> 20,
                    " MiB");
      if (fill()) continue;
      if (at_ == buffer_.size()) return false;
      end = buffer_.size();
    }
    line = buffer_.substr(at_, end - at_);
    at_ = searched_ = std::min(end + 1, buffer_.size());
    ++number_;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (number_ == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.find_first_not_of(" \t") != std::string::npos) return true;
  }
}

}  // namespace lact::text
