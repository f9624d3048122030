#include "tokenizer.hpp"

#include "charsmap.hpp"
#include "model_file.hpp"
#include "unigram.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace lact::spm {
namespace {

constexpr char32_t kSpaceSymbol = 0x2581;
constexpr std::string_view kSpaceBytes = "\xe2\x96\x81";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// Large enough that texts of ordinary length are one segment, small enough that float32 sums of
/// log-probabilities keep two decimals, and that threads share the work evenly.
constexpr size_t kSegmentBytes = size_t{32} << 10;
/// Where no cut is safe, one is made all the same.
constexpr size_t kForcedCutBytes = size_t{1} << 20;
/// A cut is judged by what stands this far around it.
constexpr size_t kLookBytes = 128;
static_assert(kLookBytes > kMaxRuleBytes);

constexpr uint64_t kModelLimit = uint64_t{256} << 20;

/// Which characters never stand side by side inside a piece: between them a text can be cut, and
/// both halves get the ids that the whole would get.
class Pairs {
 public:
  void add(std::string_view piece) {
    char32_t before = 0;
    for (bool first = true; !piece.empty(); first = false) {
      const size_t length = utf8_length(piece);
      const char32_t c = fold(utf8_decode(piece.data(), length));
      if (!first) {
        inside_.insert(uint64_t{before} << 32 | c);
        if (before < 128 && c < 128) ascii_.set(before << 7 | c);
      }
      before = c;
      piece.remove_prefix(length);
    }
  }
  /// Characters as in the text: the space stands for the space symbol.
  bool inside(char32_t a, char32_t b) const {
    a = fold(a), b = fold(b);
    if (a < 128 && b < 128) return ascii_.test(a << 7 | b);
    return inside_.count(uint64_t{a} << 32 | b) > 0;
  }

 private:
  static char32_t fold(char32_t c) { return c == kSpaceSymbol ? U' ' : c; }
  std::unordered_set<uint64_t> inside_;
  std::bitset<128 * 128> ascii_;
};

/// Ids of words seen before. Text repeats itself: nine words of ten are found here.
class WordCache {
 public:
  const std::vector<int32_t>* find(std::string_view word) const {
    const auto found = ids_.find(word);
    return found == ids_.end() ? nullptr : &found->second;
  }
  void keep(std::string_view word, const std::vector<int32_t>& ids) {
    if (ids_.size() >= kWords) ids_.clear();
    ids_.emplace(word, ids);
  }
  static bool takes(std::string_view word) { return word.size() <= 64; }

 private:
  static constexpr size_t kWords = size_t{1} << 16;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> ids_;
};

/// Start of the character that ends before `at`, or `at` if no valid one does.
size_t before(std::string_view text, size_t at) {
  for (size_t length = 1; length <= std::min<size_t>(4, at); ++length)
    if (utf8_length(text.substr(at - length, length)) == length) return at - length;
  return at;
}

}  // namespace

struct Tokenizer::Impl {
  ModelFile model;
  Charsmap charsmap;
  std::string name, hash;
  std::optional<Unigram> unigram;                 ///< for unigram models
  sentencepiece::SentencePieceProcessor library;  ///< for the others

  std::vector<std::string> text;     ///< what each id decodes to
  std::array<int32_t, 256> bytes{};  ///< ids of the byte pieces
  std::optional<int> bos, eos, pad;
  Pairs pairs;
  bool plain = false;                ///< the normaliser changes nothing but the prefix
  bool space_piece = false;          ///< the space symbol is a piece of its own
  std::vector<std::string> symbols;  ///< user-defined ones, longest first
  std::bitset<128> reserved_ascii;   ///< characters that are the name of a reserved piece
  std::unordered_set<char32_t> reserved;

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<WordCache>> caches;  ///< those not in use

  Impl(ModelFile file, const std::string& file_name, std::string file_hash)
      : model(std::move(file)),
        charsmap(model.charsmap, file_name),
        name(file_name),
        hash(std::move(file_hash)) {
    index();
    load();
  }

  bool exact() const { return model.byte_fallback && plain; }
  PieceType type(int32_t id) const { return model.pieces[static_cast<size_t>(id)].type; }
  bool control(int32_t id) const {
    return type(id) == PieceType::control || type(id) == PieceType::unknown;
  }

  void index() {
    plain = charsmap.empty() && !model.remove_extra_whitespaces;
    for (size_t i = 0; i < model.pieces.size(); ++i) {
      const Piece& piece = model.pieces[i];
      const int id = static_cast<int>(i);
      text.push_back(decoded(piece));
      if (piece.type == PieceType::byte) {
        bytes[static_cast<unsigned char>(text.back()[0])] = id;
      } else if (piece.type == PieceType::control || piece.type == PieceType::unknown) {
        reserve(piece.text);
        if (piece.type == PieceType::unknown) continue;
        if (piece.text == model.bos_piece) bos = id;
        if (piece.text == model.eos_piece) eos = id;
        if (piece.text == model.pad_piece) pad = id;
      } else {
        pairs.add(piece.text);
        if (piece.text == kSpaceBytes) space_piece = piece.type != PieceType::unused;
        if (piece.type == PieceType::user_defined) symbols.push_back(piece.text);
        if (piece.text.find('\0') != std::string::npos) reserve(std::string_view("\0", 1));
      }
    }
    std::sort(symbols.begin(), symbols.end(),
              [](const auto& a, const auto& b) { return a.size() > b.size(); });
  }

  std::string decoded(const Piece& piece) const {
    switch (piece.type) {
      case PieceType::control:
        return {};
      case PieceType::unknown:
        return model.unk_surface;
      case PieceType::byte:
        return std::string(1, static_cast<char>(std::stoi(piece.text.substr(3, 2), nullptr, 16)));
      default:
        return spaces_for_symbols(piece.text);
    }
  }

  /// The library would take this character for the reserved piece of the same name.
  void reserve(std::string_view piece) {
    if (utf8_length(piece) != piece.size()) return;
    const char32_t c = utf8_decode(piece.data(), piece.size());
    reserved.insert(c);
    if (c < 128) reserved_ascii.set(c);
  }

  void load() {
    if (model.type == ModelType::unigram) {
      unigram.emplace(model);
      return;
    }
    try {
      const auto status = library.LoadFromSerializedProto(model.for_library());
      if (!status.ok()) throw Error(Exit::data, name, ": ", status.ToString());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Error(Exit::data, name, ": SentencePiece cannot load it: ", error.what());
    }
  }

  // --- where to cut --------------------------------------------------------------------------

  /// Whether text may be cut before `at`, so that both sides get the ids they have together.
  bool can_cut(std::string_view t, size_t at) const {
    const size_t from = before(t, at), length = utf8_length(t.substr(at));
    if (from == at || length == 0) return false;
    const char32_t a = utf8_decode(t.data() + from, at - from);
    const char32_t b = utf8_decode(t.data() + at, length);
    if (!independent(a, b)) return false;
    if (plain) return true;
    // Spaces in a row are judged together, and so is what the normaliser replaces together.
    if (b != U' ' || a <= U' ' || a > U'~') return false;
    for (size_t start = at - std::min(at, kMaxRuleBytes); start < at; ++start)
      if (charsmap.may_continue(t.substr(start, at - start))) return false;
    return true;
  }

  bool independent(char32_t a, char32_t b) const {
    if (model.type == ModelType::word) return b == U' ' && a != U' ';
    return !pairs.inside(a, b);
  }

  // --- what to shield ------------------------------------------------------------------------

  /// The next bytes of the text, and what the normaliser makes of them.
  struct Step {
    size_t length = 1;
    bool same = true;
    std::string_view becomes;  ///< if not the same
  };

  Step look(std::string_view t) const {
    const auto lead = static_cast<unsigned char>(t[0]);
    if (!charsmap.empty()) {
      for (const auto& symbol : symbols)
        if (t.substr(0, symbol.size()) == symbol && symbol.find(kSpaceBytes) == std::string::npos)
          return {symbol.size()};
      if (const auto rule = charsmap.match(t)) {
        const auto from = t.substr(0, rule->length);
        if (from != rule->replacement) return {rule->length, false, rule->replacement};
        if (utf8_length(t) != rule->length) return {rule->length};
      }
    }
    if (lead < 0x80) return {1, !reserved_ascii.test(lead), t.substr(0, 1)};
    const size_t length = utf8_length(t);
    if (length == 0) return {1, false, kReplacement};
    if (t.substr(0, length) == kSpaceBytes) return {length, false, kSpaceBytes};
    const bool is_reserved = !reserved.empty() && reserved.count(utf8_decode(t.data(), length)) > 0;
    return {length, !is_reserved, t.substr(0, length)};
  }

  // --- with byte pieces: nothing is lost ----------------------------------------------------

  void encode_exactly(std::string_view t, bool first, bool last, std::vector<int32_t>& ids) const {
    Borrowed cache(*this);
    size_t from = 0, at = 0;  // [from, at) goes to the library
    bool prefix = first && model.add_dummy_prefix;
    const auto flush = [&](size_t shielded) {
      if (at > from) encode_run(t.substr(from, at - from), prefix, *cache, ids);
      if (at > from || shielded > 0) prefix = false;
      for (size_t i = 0; i < shielded; ++i)
        ids.push_back(bytes[static_cast<unsigned char>(t[at + i])]);
      from = at += shielded;
    };
    while (at < t.size()) {
      if (plain)
        while (at < t.size() && static_cast<unsigned char>(t[at]) < 0x80 &&
               !reserved_ascii.test(static_cast<unsigned char>(t[at])))
          ++at;
      if (at == t.size()) break;
      if (t[at] == ' ' && model.remove_extra_whitespaces && look(t.substr(at)).length == 1) {
        const size_t end = std::min(t.find_first_not_of(' ', at), t.size());
        const bool all = (first && at == 0) || (last && end == t.size());
        const size_t extra = end - at - (all ? 0 : 1);
        if (extra > 0) flush(extra);
        if (!all) ++at;
        continue;
      }
      const Step step = look(t.substr(at));
      if (step.same)
        at += step.length;
      else
        flush(step.length);
    }
    flush(0);
  }

  /// Ids of text that the normaliser would leave alone.
  void encode_run(std::string_view run, bool prefix, WordCache& cache,
                  std::vector<int32_t>& ids) const {
    std::string with_prefix;
    if (prefix) run = with_prefix = concat(" ", run);
    if (unigram) return encode_unigram(run, prefix, ids);
    for (size_t from = 0; from < run.size();) {
      const size_t end = word_end(run, from);
      const auto word = run.substr(from, end - from);
      from = end;
      if (prefix || !WordCache::takes(word)) {
        encode_unit(word, prefix, ids);
        prefix = false;
      } else if (const auto* known = cache.find(word)) {
        append(ids, *known);
      } else {
        std::vector<int32_t> fresh;
        encode_unit(word, false, fresh);
        cache.keep(word, fresh);
        append(ids, fresh);
      }
    }
  }

  /// End of the word that begins at `from`: the next place around a space or a newline that no
  /// piece can span.
  size_t word_end(std::string_view run, size_t from) const {
    for (size_t at = from + 1; at < run.size(); ++at) {
      const bool space = run[at] == ' ' && run[at - 1] != ' ';
      if (!space && run[at] != '\n' && run[at - 1] != '\n') continue;
      const size_t start = before(run, at);
      const size_t length = utf8_length(run.substr(at));
      if (start < at && length > 0 &&
          independent(utf8_decode(run.data() + start, at - start),
                      utf8_decode(run.data() + at, length)))
        return at;
    }
    return run.size();
  }

  /// (Never word by word: ties between equal sums are decided by rounding, which depends on all the
  /// text before.)
  void encode_unigram(std::string_view run, bool prefix, std::vector<int32_t>& ids) const {
    std::vector<int32_t> fresh;
    size_t begin = 0;
    for (const auto& [id, end] : unigram->segment(run)) {
      if (id != Unigram::kUnknown) {
        fresh.push_back(id);
      } else if (model.byte_fallback) {
        for (size_t i = begin; i < end; ++i)
          fresh.push_back(bytes[static_cast<unsigned char>(run[i])]);
      } else if (fresh.empty() || fresh.back() != model.unknown) {
        fresh.push_back(model.unknown);
      }
      begin = end;
    }
    // Decoding takes the prefix space away only from a piece of text.
    if (exact() && prefix && fresh[0] == bytes[static_cast<unsigned char>(' ')])
      fresh = spelled(run.substr(1));
    append(ids, fresh);
  }

  /// Text in byte pieces.
  std::vector<int32_t> spelled(std::string_view t) const {
    std::vector<int32_t> ids;
    for (const char c : t) ids.push_back(bytes[static_cast<unsigned char>(c)]);
    return ids;
  }

  /// The library's ids, if they decode to the text; bytes otherwise. `prefix`: the text begins with
  /// the prefix space, which decoding takes away again.
  void encode_unit(std::string_view unit, bool prefix, std::vector<int32_t>& ids) const {
    auto fresh = library_ids(unit);
    if (exact()) {
      if (!space_piece) unspell_spaces(fresh);
      const bool lost_prefix =
          prefix && !fresh.empty() && fresh[0] == bytes[static_cast<unsigned char>(' ')];
      if (lost_prefix || !decodes_to(fresh, unit)) fresh = spelled(unit.substr(prefix ? 1 : 0));
    }
    append(ids, fresh);
  }

  /// It refuses words that are the name of a control piece (models of words): unknown to us.
  std::vector<int> library_ids(std::string_view t) const {
    std::vector<int> ids;
    if (!library.Encode(t, &ids).ok()) ids.assign(1, model.unknown);
    return ids;
  }

  /// A space that is no piece comes from the library as the three bytes of the space symbol.
  void unspell_spaces(std::vector<int32_t>& ids) const {
    const auto byte = [&](char c) { return bytes[static_cast<unsigned char>(c)]; };
    const std::array<int32_t, 3> spelled = {byte(kSpaceBytes[0]), byte(kSpaceBytes[1]),
                                            byte(kSpaceBytes[2])};
    for (auto at = ids.begin();;) {
      at = std::search(at, ids.end(), spelled.begin(), spelled.end());
      if (at == ids.end()) return;
      *at = byte(' ');
      at = ids.erase(at + 1, at + 3);
    }
  }

  bool decodes_to(const std::vector<int32_t>& ids, std::string_view want) const {
    for (const int32_t id : ids) {
      const auto& piece = text[static_cast<size_t>(id)];
      if (control(id) || want.substr(0, piece.size()) != piece) return false;
      want.remove_prefix(piece.size());
    }
    return want.empty();
  }

  /// Bytes of the normal text `t` that no piece covers.
  uint64_t unknown_bytes(std::string_view t) const {
    uint64_t count = 0;
    if (model.byte_fallback) return count;
    if (unigram) {
      size_t begin = 0;
      for (const auto& [id, end] : unigram->segment(spaces_for_symbols(t))) {
        if (id == Unigram::kUnknown) count += end - begin;
        begin = end;
      }
      return count;
    }
    const auto pieces = library.EncodeAsImmutableProto(t);
    for (size_t i = 0; i < pieces.pieces_size(); ++i)
      if (const auto piece = pieces.pieces(static_cast<int>(i));
          static_cast<int>(piece.id()) == model.unknown)
        count += spaces_for_symbols(piece.piece()).size();
    return count;
  }

  // --- as SentencePiece does --------------------------------------------------------------------

  /// The text as the normaliser leaves it, and how many bytes it changed.
  std::string normalize(std::string_view t, bool first, bool last, uint64_t& changed) const {
    std::string out;
    bool after_space = first && model.remove_extra_whitespaces;
    for (Step step; !t.empty(); t.remove_prefix(step.length)) {
      step = look(t);
      const auto original = t.substr(0, step.length);
      auto becomes = step.same ? original : step.becomes;
      while (after_space && !becomes.empty() && becomes[0] == ' ') becomes.remove_prefix(1);
      if (becomes != original || becomes == kSpaceBytes) changed += step.length;
      if (!becomes.empty()) after_space = model.remove_extra_whitespaces && becomes.back() == ' ';
      out += becomes;
    }
    while (last && model.remove_extra_whitespaces) {
      const size_t end = out.size() - (out.ends_with(' ') ? 1 : out.ends_with(kSpaceBytes) ? 3 : 0);
      if (end == out.size()) break;
      out.resize(end);
      ++changed;
    }
    if (first && model.add_dummy_prefix && !(out.empty() && model.remove_extra_whitespaces))
      out.insert(0, 1, ' ');
    return out;
  }

  void encode_as_library(std::string_view t, bool first, bool last,
                         std::vector<int32_t>& ids) const {
    Borrowed cache(*this);
    uint64_t changed = 0;
    auto normal = normalize(t, first, last, changed);
    if (unigram) normal = spaces_for_symbols(normal);
    if (!normal.empty()) encode_run(normal, false, *cache, ids);
  }

  /// Runs of unknown pieces are one.
  void append(std::vector<int32_t>& ids, const std::vector<int32_t>& more) const {
    const bool same_unknown = !model.byte_fallback && !ids.empty() && !more.empty() &&
                              ids.back() == model.unknown && more.front() == model.unknown;
    ids.insert(ids.end(), more.begin() + (same_unknown ? 1 : 0), more.end());
  }

  /// A cache for one call, whichever thread makes it.
  class Borrowed {
   public:
    explicit Borrowed(const Impl& impl) : impl_(impl) {
      const std::lock_guard lock(impl.mutex);
      if (!impl.caches.empty()) {
        cache_ = std::move(impl.caches.back());
        impl.caches.pop_back();
      } else {
        cache_ = std::make_unique<WordCache>();
      }
    }
    ~Borrowed() {
      const std::lock_guard lock(impl_.mutex);
      impl_.caches.push_back(std::move(cache_));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    WordCache& operator*() const { return *cache_; }

   private:
    const Impl& impl_;
    std::unique_ptr<WordCache> cache_;
  };
};

Tokenizer Tokenizer::open(const std::filesystem::path& model) {
  const auto bytes = io::read_text(model, kModelLimit);
  Tokenizer tokenizer;
  tokenizer.impl_ = std::make_shared<Impl>(ModelFile::parse(bytes, model.string()), model.string(),
                                           io::xxh3(bytes.data(), bytes.size()));
  return tokenizer;
}

int Tokenizer::vocab_size() const {
  return static_cast<int>(impl_->model.pieces.size());
}
const std::string& Tokenizer::hash() const {
  return impl_->hash;
}
std::optional<int> Tokenizer::bos() const {
  return impl_->bos;
}
std::optional<int> Tokenizer::eos() const {
  return impl_->eos;
}
std::optional<int> Tokenizer::pad() const {
  return impl_->pad;
}
int Tokenizer::unknown() const {
  return impl_->model.unknown;
}
bool Tokenizer::byte_fallback() const {
  return impl_->model.byte_fallback;
}
bool Tokenizer::exact() const {
  return impl_->exact();
}

namespace {

size_t checked(int id, int vocab_size) {
  if (id < 0 || id >= vocab_size)
    throw Error(Exit::data, "token id ", id, ": the vocabulary has ", vocab_size, " pieces");
  return static_cast<size_t>(id);
}

}  // namespace

std::string Tokenizer::piece(int id) const {
  return impl_->model.pieces[checked(id, vocab_size())].text;
}
bool Tokenizer::control(int id) const {
  checked(id, vocab_size());
  return impl_->control(id);
}

size_t Tokenizer::next_segment(std::string_view rest, bool complete) const {
  if (complete && rest.size() <= kSegmentBytes) return rest.size();
  const size_t known = complete ? rest.size() : rest.size() - std::min(rest.size(), kLookBytes);
  for (size_t at = kSegmentBytes; at < known; ++at) {
    const bool character = (static_cast<unsigned char>(rest[at]) & 0xc0) != 0x80;
    if (impl_->can_cut(rest, at) || (at >= kForcedCutBytes && character) ||
        at >= kForcedCutBytes + 4)
      return at;
  }
  return complete ? rest.size() : 0;
}

void Tokenizer::encode_segment(std::string_view segment, bool first, bool last,
                               std::vector<int32_t>& ids) const {
  std::vector<int32_t> more;
  if (exact())
    impl_->encode_exactly(segment, first, last, more);
  else
    impl_->encode_as_library(segment, first, last, more);
  if (ids.empty())
    ids = std::move(more);
  else
    join(ids, more);
}

void Tokenizer::join(std::vector<int32_t>& ids, const std::vector<int32_t>& more) const {
  impl_->append(ids, more);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool continued) const {
  std::vector<int32_t> ids;
  for (bool first = !continued; !text.empty(); first = false) {
    const size_t length = next_segment(text, true);
    encode_segment(text.substr(0, length), first, length == text.size(), ids);
    text.remove_prefix(length);
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_normalized(std::string_view text) const {
  std::vector<int32_t> ids;
  impl_->encode_as_library(text, true, true, ids);
  return ids;
}

uint64_t Tokenizer::lost_bytes(std::string_view text, bool continued) const {
  if (exact()) return 0;
  uint64_t lost = 0;
  for (bool first = !continued; !text.empty(); first = false) {
    const size_t length = next_segment(text, true);
    const auto normal =
        impl_->normalize(text.substr(0, length), first, length == text.size(), lost);
    lost += impl_->unknown_bytes(normal);
    text.remove_prefix(length);
  }
  return lost;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  Stream stream(*this);
  std::string text;
  for (const int32_t id : ids) text += stream.next(id);
  return text + stream.flush();
}

// --- Stream
// ----------------------------------------------------------------------------------------

namespace {

/// How many bytes at the end of `text` are the beginning of a character that may still be finished.
size_t unfinished(std::string_view text) {
  for (size_t length = 1; length <= std::min<size_t>(3, text.size()); ++length) {
    const auto tail = text.substr(text.size() - length);
    if ((static_cast<unsigned char>(tail[0]) & 0xc0) == 0x80) continue;
    // It may be finished if some last bytes make it valid.
    for (const char* end : {"\x80\x80\x80", "\xbf\xbf\xbf"})
      if (utf8_length(std::string(tail) + end) > length) return length;
    return 0;
  }
  return 0;
}

}  // namespace

Tokenizer::Stream::Stream(const Tokenizer& tokenizer, std::string pending, bool at_start)
    : tokenizer_(&tokenizer), pending_(std::move(pending)), at_start_(at_start) {}

std::string Tokenizer::Stream::next(int32_t id) {
  const Impl& impl = *tokenizer_->impl_;
  std::string_view text = impl.text[checked(id, tokenizer_->vocab_size())];
  if (impl.type(id) == PieceType::control) return {};
  if (at_start_ && impl.model.add_dummy_prefix && impl.type(id) != PieceType::byte &&
      impl.model.pieces[static_cast<size_t>(id)].text.starts_with(kSpaceBytes))
    text.remove_prefix(1);
  at_start_ = false;
  pending_ += text;
  const size_t held = unfinished(pending_);
  std::string out = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, pending_.size() - held);
  return out;
}

std::string Tokenizer::Stream::flush() {
  return std::exchange(pending_, {});
}

}  // namespace lact::spm
