#include "documents.hpp"

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/known_form.hpp>
#include <lact/log.hpp>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace lact::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = size_t{256} << 10;
/// Of a line of JSON, which is held several times over while it is read.
constexpr size_t kRecordLimit = size_t{32} << 20;

// --- files ---------------------------------------------------------------------------------------

/// Files below a folder, by path; hidden ones are left out, and all below `without`.
void find_files(const fs::path& folder, const fs::path& without, std::vector<std::string>& files) {
  std::vector<fs::path> items;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error)) items.push_back(item.path());
  if (error) throw Error(Exit::no_input, folder.string(), ": ", error.message());
  std::sort(items.begin(), items.end());
  for (const auto& item : items) {
    if (item.filename().string().rfind('.', 0) == 0) continue;
    if (!without.empty() && fs::equivalent(item, without, error)) {
      log::info(item.string(), ": is the output, left out of the input");
      continue;
    }
    // Links to files are followed, links to folders are not: they may lead in circles.
    if (fs::is_directory(fs::symlink_status(item, error)))
      find_files(item, without, files);
    else if (fs::is_regular_file(item, error))
      files.push_back(item.string());
  }
}

}  // namespace

std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const char c = i + 1 < text.size() ? text[++i] : ' ';
    const auto named = std::string_view("ntr0\\").find(c);
    if (named != std::string_view::npos) {
      out += "\n\t\r\0\\"[named];
    } else if (c == 'x' && i + 2 < text.size() && std::isxdigit(text[i + 1] & 0xff) != 0 &&
               std::isxdigit(text[i + 2] & 0xff) != 0) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      throw Error(Exit::usage, "'", text, "': expected \\n, \\t, \\r, \\0, \\\\ or \\xHH");
    }
  }
  return out;
}

void DocumentOptions::declare(cli::Options options) {
  options.add("FILE", inputs,
              "files, folders with everything below them, or - for stdin, which is also read if "
              "nothing is given; gzip and zstd data are decompressed");
  auto group = options.group("Input");
  group.add("--input-format", format, "format of the files; auto: JSONL by the name, else text")
      .words({"auto", "text", "jsonl"});
  group.add("--text-key", text_key, "key of the text in each JSON line").value("KEY");
  group
      .add("--document-separator", separator,
           "text that ends a document within a file, with \\n, \\t, \\0, \\xHH (default: each "
           "file is one document)")
      .value("TEXT");
}

Documents::Documents(DocumentOptions options) : options_(std::move(options)) {
  options_.separator = unescape(options_.separator);
  if (options_.inputs.empty()) {
    if (::isatty(STDIN_FILENO) == 1)
      throw Error(Exit::usage, "no input: name files or folders, or - for the terminal");
    options_.inputs = {"-"};
  }
  bool known = true;
  for (const auto& input : options_.inputs) {
    std::error_code error;
    if (input == "-") {
      files_.push_back(input);
      known = false;
    } else if (fs::is_directory(input, error)) {
      add_folder(input);
    } else if (fs::exists(input, error)) {
      files_.push_back(input);
    } else {
      throw Error(Exit::no_input, input, ": ", error ? error.message() : std::strerror(ENOENT));
    }
  }
  if (files_.empty()) throw Error(Exit::no_input, options_.inputs[0], ": no files in this folder");
  for (const auto& file : files_) {
    if (file == "-") continue;
    if (::access(file.c_str(), R_OK) != 0)
      throw Error(Exit::no_input, file, ": ", std::strerror(errno));
    std::error_code error;
    const auto size = fs::file_size(file, error);
    if (error) known = false;
    total_ += error ? 0 : size;
  }
  if (!known) total_ = 0;
}

Documents::~Documents() = default;

void Documents::add_folder(const std::string& folder) {
  std::error_code error;
  const auto& output = options_.output;
  if (!output.empty() && fs::equivalent(folder, output, error))
    throw Error(Exit::usage, folder, ": is input and output; give another --output");
  const size_t before = files_.size();
  find_files(folder, fs::exists(output, error) ? output : "", files_);
  found_.insert(files_.begin() + static_cast<ptrdiff_t>(before), files_.end());
}

const std::string& Documents::file() const {
  return files_.at(index_ == 0 ? 0 : index_ - 1);
}

uint64_t Documents::bytes_read() const {
  return before_ + (source_ ? source_->consumed() : 0);
}

bool Documents::open_next() {
  do {
    if (source_) before_ += source_->consumed();
    source_.reset();
    if (index_ == files_.size()) return false;
    source_ = open_bytes(files_[index_]);
    ++index_;
    first_ = true;
    ended_ = false;
    line_ = 0;
    buffer_.clear();
    at_ = searched_ = 0;
  } while (options_.format != "text" && !is_text());
  records_ = options_.format == "jsonl" || (options_.format == "auto" && holds_records());
  return true;
}

/// False, with a line, of what a folder holds and is no text.
bool Documents::is_text() {
  fill();
  if (found_.count(file()) == 0) {
    check_form(file(), buffer_);
    return true;
  }
  const auto form = io::known_form(buffer_);
  if (form.empty()) return true;
  log::warning(file(), ": is ", form, ", left out");
  if (++left_out_ == files_.size())
    throw Error(Exit::data, options_.inputs[0], ": none of ", left_out_, " files is text");
  return false;
}

/// By the name, and of .json, which may be anything, by the first line.
bool Documents::holds_records() {
  const auto name = without_compression(file());
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson")) return true;
  if (!name.ends_with(".json")) return false;
  const size_t begin = std::min(buffer_.find_first_not_of(" \t\r\n\xef\xbb\xbf"), buffer_.size());
  while (buffer_.find('\n', begin) == std::string::npos && buffer_.size() < kRecordLimit &&
         fill()) {
  }
  const size_t end = std::min(buffer_.find('\n', begin), buffer_.size());
  const auto record = nlohmann::json::parse(buffer_.substr(0, end), nullptr, false);
  if (record.is_object() && record.contains(options_.text_key)) return true;
  log::warning(file(), ": JSON, but its first line is no object with \"", options_.text_key,
               "\": taken as text");
  return false;
}

/// Reads one more block behind what is unread; false at the end of the file.
bool Documents::fill() {
  if (ended_) return false;
  buffer_.erase(0, at_);
  searched_ -= std::min(searched_, at_);
  at_ = 0;
  const size_t before = buffer_.size();
  buffer_.resize(before + kBlockBytes);
  const size_t n = source_->read(buffer_.data() + before, kBlockBytes);
  buffer_.resize(before + n);
  ended_ = n == 0;
  return !ended_;
}

bool Documents::next(Part& part) {
  for (;;) {
    if (!source_ && !open_next()) return false;
    const bool found = records_                     ? next_record(part)
                       : options_.separator.empty() ? next_text(part)
                                                    : next_separated(part);
    if (found) return true;
    if (!open_next()) return false;
  }
}

bool Documents::next_text(Part& part) {
  if (ended_ && buffer_.empty() && !first_) return false;
  while (buffer_.size() < kBlockBytes && fill()) {
  }
  part = {std::exchange(buffer_, {}), first_, ended_};
  first_ = false;
  return true;
}

bool Documents::next_separated(Part& part) {
  const auto& separator = options_.separator;
  for (;;) {
    const size_t found = buffer_.find(separator, std::max(at_, searched_));
    part.first = first_;
    if (found != std::string::npos) {
      part.bytes = buffer_.substr(at_, found - at_);
      part.last = true;
      first_ = true;
      at_ = searched_ = found + separator.size();
      return true;
    }
    // The end may be the beginning of a separator.
    searched_ = std::max(at_, buffer_.size() - std::min(buffer_.size(), separator.size() - 1));
    if (searched_ - at_ >= kBlockBytes) {
      part.bytes = buffer_.substr(at_, searched_ - at_);
      part.last = false;
      first_ = false;
      at_ = searched_;
      return true;
    }
    if (fill()) continue;
    if (at_ == buffer_.size() && first_) return false;  // nothing after the last separator
    part.bytes = buffer_.substr(at_);
    part.last = true;
    first_ = true;
    at_ = searched_ = buffer_.size();
    return true;
  }
}

bool Documents::next_record(Part& part) {
  for (;;) {
    size_t end = buffer_.find('\n', std::max(at_, searched_));
    if (end == std::string::npos) {
      searched_ = buffer_.size();
      if (buffer_.size() - at_ > kRecordLimit)
        throw Error(Exit::data, shown(file()), ":", line_ + 1, ": a line of more than ",
                    kRecordLimit >> 20, " MiB");
      if (fill()) continue;
      if (at_ == buffer_.size()) return false;
      end = buffer_.size();
    }
    const std::string_view line(buffer_.data() + at_, end - at_);
    at_ = searched_ = std::min(end + 1, buffer_.size());
    ++line_;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto where = concat(shown(file()), ":", line_);
    const auto record = io::parse_json(line, where);
    const auto text = record.is_object() ? record.find(options_.text_key) : record.end();
    if (!record.is_object() || text == record.end())
      throw Error(Exit::data, where, ": expected an object with the key \"", options_.text_key,
                  "\", found ", record.is_object() ? "an object without it" : record.type_name());
    if (!text->is_string())
      throw Error(Exit::data, where, ": ", options_.text_key, ": expected a string, found ",
                  text->type_name());
    part = {text->get<std::string>(), true, true};
    return true;
  }
}

}  // namespace lact::text
