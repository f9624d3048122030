#include "bytes.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/known_form.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace lact::text {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;

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
    size_t n = std::min(bytes, head_.size());
    if (n == 0)
      n = read_file(to, bytes);
    else
      head_.copy(to, n);
    head_.erase(0, n);
    consumed_ += n;
    return n;
  }
  /// The first bytes, as many as one read gives: who types a line need not type another.
  std::string_view head() {
    if (head_.empty()) {
      head_.resize(io::kFormBytes);
      head_.resize(read_file(head_.data(), head_.size()));
    }
    return head_;
  }
  uint64_t consumed() const override { return consumed_; }
  const std::string& name() const { return name_; }

 private:
  size_t read_file(char* to, size_t bytes) {
    for (;;) {
      const ssize_t n = ::read(descriptor_, to, bytes);
      if (n >= 0) return static_cast<size_t>(n);
      if (errno != EINTR)
        throw Error(errno == EISDIR ? Exit::no_input : Exit::io, name_, ": ", std::strerror(errno));
      poll();
    }
  }
  /// A pipe may have nobody who writes, for ever.
  static void poll() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }
  static int opened(const std::string& file) {
    int descriptor = -1;
    while ((descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR) poll();
    return descriptor;
  }

  std::string name_, head_;
  int descriptor_;
  uint64_t consumed_ = 0;
};

/// Feeds a decompressor from a file.
class Compressed : public ByteSource {
 public:
  explicit Compressed(std::unique_ptr<PlainSource> file)
      : file_(std::move(file)), input_(kBlockBytes, '\0') {}
  uint64_t consumed() const override { return file_->consumed(); }

 protected:
  /// Compressed bytes at hand, in [begin_, end_); false at the end of the file.
  bool refill() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = file_->read(input_.data(), input_.size());
    }
    return begin_ < end_;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Exit::data, file_->name(), ": ", what);
  }

  std::unique_ptr<PlainSource> file_;
  std::string input_;
  size_t begin_ = 0, end_ = 0;
};

class GzipSource final : public Compressed {
 public:
  explicit GzipSource(std::unique_ptr<PlainSource> file) : Compressed(std::move(file)) {
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
  explicit ZstdSource(std::unique_ptr<PlainSource> file)
      : Compressed(std::move(file)), stream_(ZSTD_createDStream()) {
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

}  // namespace

void check_form(const std::string& file, std::string_view head) {
  io::refuse_other_form(shown(file), head, "text");
}

std::string shown(const std::string& file) {
  return file == "-" ? "stdin" : file;
}

std::string without_compression(const std::string& file) {
  for (const char* end : {".gz", ".zst"})
    if (file.ends_with(end)) return file.substr(0, file.size() - std::strlen(end));
  return file;
}

std::unique_ptr<ByteSource> open_bytes(const std::string& file) {
  auto plain = std::make_unique<PlainSource>(file);
  const auto form = io::known_form(plain->head());
  if (form == "gzip data" || file.ends_with(".gz"))
    return std::make_unique<GzipSource>(std::move(plain));
  if (form == "zstd data" || file.ends_with(".zst"))
    return std::make_unique<ZstdSource>(std::move(plain));
  return plain;
}

}  // namespace lact::text
