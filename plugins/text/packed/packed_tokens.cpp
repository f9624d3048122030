#include "packed_tokens.hpp"

#include <plugins/common/packed/packed_set.hpp>

#include <lact/error.hpp>

#include <ATen/ops/empty.h>

#include <algorithm>

namespace lact::text {
namespace {

constexpr int64_t kNarrowVocabulary = 65536;  ///< ids up to this many fit U16
constexpr int64_t kLargestVocabulary = int64_t{1} << 31;

template <class... Parts>
[[noreturn]] void fail(const io::SafeTensors& file, const Parts&... parts) {
  throw Error(Exit::data, file.path().string(), ": ", parts...);
}

const io::SafeTensors::Entry& entry(const io::SafeTensors& file, const char* name,
                                    const char* dtype) {
  if (!file.contains(name)) fail(file, "no token data: no tensor ", name);
  const auto& found = file.entry(name);
  if (found.dtype != dtype || found.shape.size() != 1)
    fail(file, "tensor ", name, ": expected ", dtype, " in one dimension, found ", found.dtype,
         " in ", found.shape.size());
  return found;
}

}  // namespace

PackedTokens PackedTokens::open(const std::filesystem::path& path) {
  PackedTokens tokens;
  auto& file = tokens.file_ = io::SafeTensors::open(path);
  packed::check_kind(file, "tokens", "token data");
  tokens.vocab_size_ = packed::metadata_number(file, "vocab_size", 0, kLargestVocabulary);
  tokens.text_bytes_ = static_cast<uint64_t>(packed::metadata_number(file, "bytes", 0, INT64_MAX));
  packed::metadata_text(file, "tokenizer");
  tokens.wide_ = tokens.vocab_size_ > kNarrowVocabulary;
  const auto& starts = entry(file, "documents", "U64");
  tokens.count_ = entry(file, "tokens", tokens.wide_ ? "U32" : "U16").shape[0];
  if (starts.shape[0] < 1) fail(file, "tensor documents: empty");
  file.verify("documents");
  tokens.documents_ = starts.shape[0] - 1;
  tokens.tokens_ = file.bytes("tokens");
  const auto* bytes = file.bytes("documents");
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(uint64_t) != 0 ||
      reinterpret_cast<uintptr_t>(tokens.tokens_) % (tokens.wide_ ? 4 : 2) != 0)
    fail(file, "tensors are not aligned");
  tokens.starts_ = reinterpret_cast<const uint64_t*>(bytes);
  const auto* end = tokens.starts_ + tokens.documents_ + 1;
  const auto* fall = std::is_sorted_until(tokens.starts_, end);
  if (fall != end)
    fail(file, "tensor documents: document ", fall - tokens.starts_, " begins before the last one");
  if (tokens.starts_[0] != 0 || end[-1] != static_cast<uint64_t>(tokens.count_))
    fail(file, "tensor documents: expected 0 to ", tokens.count_, ", found ", tokens.starts_[0],
         " to ", end[-1]);
  if (!file.contains("scored")) return tokens;
  if (entry(file, "scored", "U8").shape[0] != tokens.count_)
    fail(file, "tensor scored: expected ", tokens.count_, " numbers");
  tokens.scored_ = reinterpret_cast<const uint8_t*>(file.bytes("scored"));
  return tokens;
}

void PackedTokens::verify() const {
  for (const auto& one : file_.entries()) file_.verify(one.name);
}

int64_t PackedTokens::tokens() const {
  return count_;
}
int64_t PackedTokens::documents() const {
  return documents_;
}
int64_t PackedTokens::vocab_size() const {
  return vocab_size_;
}
uint64_t PackedTokens::text_bytes() const {
  return text_bytes_;
}
const std::string& PackedTokens::tokenizer() const {
  return packed::metadata_text(file_, "tokenizer");
}

void PackedTokens::require_tokenizer(const std::string& hash, const std::filesystem::path& file,
                                     const std::string& whose) const {
  if (tokenizer() != hash)
    throw Error(Exit::data, file.string(), ": packed with tokenizer ", tokenizer().substr(0, 12),
                ", ", whose, " ", hash.substr(0, 12));
}

namespace {

void check_range(int64_t begin, int64_t end, int64_t count) {
  if (begin < 0 || end < begin || end > count)
    throw Error(Exit::internal, "tokens ", begin, " to ", end, " of ", count);
}

/// Copies ids to int64 and returns the place of the first that is not below `limit`, or -1.
template <class T>
int64_t widen(const T* from, int64_t count, int64_t limit, int64_t* to) {
  int64_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<int64_t>(from[i]);
    largest = std::max(largest, to[i]);
  }
  if (largest < limit) return -1;
  return std::find_if(to, to + count, [&](int64_t id) { return id >= limit; }) - to;
}

}  // namespace

at::Tensor PackedTokens::ids(int64_t begin, int64_t end) const {
  check_range(begin, end, count_);
  const int64_t n = end - begin;
  auto result = at::empty({n}, at::kLong);
  auto* to = result.mutable_data_ptr<int64_t>();
  const int64_t bad =
      wide_ ? widen(static_cast<const uint32_t*>(tokens_) + begin, n, vocab_size_, to)
            : widen(static_cast<const uint16_t*>(tokens_) + begin, n, vocab_size_, to);
  if (bad >= 0)
    fail(file_, "token ", begin + bad, ": id ", to[bad], ", but vocab_size is ", vocab_size_);
  return result;
}

at::Tensor PackedTokens::scored(int64_t begin, int64_t end) const {
  check_range(begin, end, count_);
  if (scored_ == nullptr) return {};
  auto result = at::empty({end - begin}, at::kBool);
  std::transform(scored_ + begin, scored_ + end, result.mutable_data_ptr<bool>(),
                 [](uint8_t x) { return x != 0; });
  return result;
}

at::Tensor PackedTokens::document_numbers(int64_t begin, int64_t end) const {
  check_range(begin, end, count_);
  auto result = at::empty({end - begin}, at::kLong);
  auto* to = result.mutable_data_ptr<int64_t>();
  const auto* last = starts_ + documents_ + 1;
  // The document of `begin`: the last one that begins at or before it.
  auto* next = std::upper_bound(starts_, last, static_cast<uint64_t>(begin));
  for (int64_t i = begin; i < end; ++i) {
    while (next != last && *next <= static_cast<uint64_t>(i)) ++next;
    *to++ = next - starts_ - 1;
  }
  return result;
}

int64_t PackedTokens::begin(int64_t d) const {
  if (d < 0 || d > documents_) throw Error(Exit::internal, "document ", d, " of ", documents_);
  return static_cast<int64_t>(starts_[d]);
}

TokenWriter::TokenWriter(const std::filesystem::path& file, int64_t vocab_size,
                         std::string tokenizer, std::string split)
    : stream_(file),
      vocab_size_(vocab_size),
      tokenizer_(std::move(tokenizer)),
      split_(std::move(split)) {
  stream_.begin("tokens", vocab_size_ > kNarrowVocabulary ? "U32" : "U16");
}

void TokenWriter::begin_document() {
  starts_.push_back(count_);
}

void TokenWriter::append(const std::vector<int32_t>& ids) {
  if (starts_.empty()) throw Error(Exit::internal, "tokens before a document");
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab_size_)
      throw Error(Exit::internal, "token id ", id, " of ", vocab_size_);
  if (vocab_size_ > kNarrowVocabulary) {
    stream_.append(ids.data(), ids.size() * sizeof(int32_t));
  } else {
    const std::vector<uint16_t> narrow(ids.begin(), ids.end());
    stream_.append(narrow.data(), narrow.size() * sizeof(uint16_t));
  }
  count_ += ids.size();
}

void TokenWriter::append(const std::vector<int32_t>& ids, const std::vector<uint8_t>& scored) {
  append(ids);
  scored_.insert(scored_.end(), scored.begin(), scored.end());
}

void TokenWriter::seal() {
  const uint64_t bytes = count_ * (vocab_size_ > kNarrowVocabulary ? 4 : 2);
  if (bytes % 8 != 0) {
    const std::vector<char> zeros(8 - bytes % 8);
    stream_.begin("padding", "U8");
    stream_.append(zeros.data(), zeros.size());
  }
  starts_.push_back(count_);
  stream_.begin("documents", "U64");
  stream_.append(starts_.data(), starts_.size() * sizeof(uint64_t));
  starts_.pop_back();
  if (!scored_.empty()) {
    if (scored_.size() != count_) throw Error(Exit::internal, "not all tokens say if they count");
    stream_.begin("scored", "U8");
    stream_.append(scored_.data(), scored_.size());
  }
  auto metadata = packed::metadata("tokens", split_);
  metadata["vocab_size"] = std::to_string(vocab_size_);
  metadata["tokenizer"] = tokenizer_;
  metadata["bytes"] = std::to_string(text_bytes_);
  stream_.seal(metadata);
}

}  // namespace lact::text
