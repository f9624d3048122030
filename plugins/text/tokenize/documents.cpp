#include "documents.hpp"

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

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

std::string shown(const std::string& file) {
  return file == "-" ? "stdin" : file;
}

// --- bytes ---------------------------------------------------------------------------------------

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(const std::string& file)
      : name_(shown(file)), descriptor_(file == "-" ? STDIN_FILENO : opened(file)) {
    if (descriptor_ < 0) throw Error(Exit::no_input, name_, ": ", std::strerror(errno));
  }
  ~PlainSource() override {
    if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
  }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t read(char* to, size_t bytes) override {
    for (;;) {
      const ssize_t n = ::read(descriptor_, to, bytes);
      if (n >= 0) {
        consumed_ += static_cast<uint64_t>(n);
        return static_cast<size_t>(n);
      }
      if (errno == EINTR)
        poll();
      else
        throw Error(errno == EISDIR ? Exit::no_input : Exit::io, name_, ": ", std::strerror(errno));
    }
  }
  uint64_t consumed() const override { return consumed_; }
  const std::string& name() const { return name_; }

 private:
  /// A pipe may have nobody who writes, for ever.
  static void poll() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }
  static int opened(const std::string& file) {
    int descriptor = -1;
    while ((descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR) poll();
    return descriptor;
  }

  std::string name_;
  int descriptor_;
  uint64_t consumed_ = 0;
};

/// Feeds a decompressor from a file.
class Compressed : public ByteSource {
 public:
  explicit Compressed(const std::string& file) : file_(file), input_(kBlockBytes, '\0') {}
  uint64_t consumed() const override { return file_.consumed(); }

 protected:
  /// Compressed bytes at hand, in [begin_, end_); false at the end of the file.
  bool refill() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = file_.read(input_.data(), input_.size());
    }
    return begin_ < end_;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Exit::data, file_.name(), ": ", what);
  }

  PlainSource file_;
  std::string input_;
  size_t begin_ = 0, end_ = 0;
};

class GzipSource final : public Compressed {
 public:
  explicit GzipSource(const std::string& file) : Compressed(file) {
    if (::inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: a gzip header
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }

  size_t read(char* to, size_t bytes) override {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(bytes);
    while (stream_.avail_out == bytes) {
      if (!refill()) {
        if (inside_) fail("gzip data ends early");
        if (!any_) fail("empty, not gzip data");
        return 0;
      }
      if (any_ && !inside_) {  // zeros after a member are padding, as of tapes
        while (begin_ < end_ && input_[begin_] == '\0') ++begin_;
        if (begin_ == end_) continue;
      }
      stream_.next_in = reinterpret_cast<Bytef*>(input_.data() + begin_);
      stream_.avail_in = static_cast<uInt>(end_ - begin_);
      const int code = ::inflate(&stream_, Z_NO_FLUSH);
      begin_ = end_ - stream_.avail_in;
      any_ = true;
      inside_ = code != Z_STREAM_END;
      if (code == Z_STREAM_END)
        ::inflateReset(&stream_);  // members may follow one another
      else if (code == Z_MEM_ERROR)
        throw std::bad_alloc();
      else if (code != Z_OK && code != Z_BUF_ERROR)
        fail(concat("damaged gzip data", stream_.msg ? concat(": ", stream_.msg) : ""));
    }
    return bytes - stream_.avail_out;
  }

 private:
  z_stream stream_{};
  bool inside_ = false, any_ = false;
};

class ZstdSource final : public Compressed {
 public:
  explicit ZstdSource(const std::string& file) : Compressed(file), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw std::bad_alloc();
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  size_t read(char* to, size_t bytes) override {
    ZSTD_outBuffer out{to, bytes, 0};
    while (out.pos == 0) {
      // What is decoded already may wait inside for a place to go.
      const bool more = refill();
      if (!more && !waiting_) {
        if (inside_) fail("zstd data ends early");
        if (!any_) fail("empty, not zstd data");
        return 0;
      }
      ZSTD_inBuffer in{input_.data(), end_, begin_};
      const size_t code = ZSTD_decompressStream(stream_, &out, &in);
      if (in.pos > begin_ || out.pos > 0) inside_ = code != 0;  // else it asks for another frame
      begin_ = in.pos;
      any_ = true;
      if (ZSTD_isError(code) != 0) fail(concat("damaged zstd data: ", ZSTD_getErrorName(code)));
      waiting_ = out.pos == out.size;
    }
    return out.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool inside_ = false, any_ = false, waiting_ = false;
};

// --- files ---------------------------------------------------------------------------------------

/// Files below a folder, by path; hidden ones are left out.
void find_files(const fs::path& folder, std::vector<std::string>& files) {
  std::vector<fs::path> items;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error)) items.push_back(item.path());
  if (error) throw Error(Exit::no_input, folder.string(), ": ", error.message());
  std::sort(items.begin(), items.end());
  for (const auto& item : items) {
    if (item.filename().string().rfind('.', 0) == 0) continue;
    // Links to files are followed, links to folders are not: they may lead in circles.
    if (fs::is_directory(fs::symlink_status(item, error)))
      find_files(item, files);
    else if (fs::is_regular_file(item, error))
      files.push_back(item.string());
  }
}

bool is_records(const std::string& file, const std::string& format) {
  if (format != "auto") return format == "jsonl";
  std::string name = file;
  for (const char* end : {".gz", ".zst"})
    if (name.ends_with(end)) name.resize(name.size() - std::strlen(end));
  return name.ends_with(".jsonl") || name.ends_with(".ndjson");
}

}  // namespace

std::unique_ptr<ByteSource> open_bytes(const std::string& file) {
  if (file.ends_with(".gz")) return std::make_unique<GzipSource>(file);
  if (file.ends_with(".zst")) return std::make_unique<ZstdSource>(file);
  return std::make_unique<PlainSource>(file);
}

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
              "nothing is given; .gz and .zst are decompressed");
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
      find_files(input, files_);
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

const std::string& Documents::file() const {
  return files_.at(index_ == 0 ? 0 : index_ - 1);
}

uint64_t Documents::bytes_read() const {
  return before_ + (source_ ? source_->consumed() : 0);
}

bool Documents::open_next() {
  if (source_) before_ += source_->consumed();
  source_.reset();
  if (index_ == files_.size()) return false;
  source_ = open_bytes(files_[index_]);
  records_ = is_records(files_[index_], options_.format);
  ++index_;
  first_ = true;
  ended_ = false;
  line_ = 0;
  buffer_.clear();
  at_ = searched_ = 0;
  return true;
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
  if (ended_) return false;
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
