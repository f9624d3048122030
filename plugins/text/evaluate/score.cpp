#include "score.hpp"

#include "score_report.hpp"

#include <plugins/text/input/documents.hpp>
#include <plugins/text/packed/packed_tokens.hpp>
#include <plugins/text/session/lines.hpp>
#include <plugins/text/session/text_reader.hpp>

#include <lact/cli/bench.hpp>
#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/log.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

/// Logits of one group stay below this many bytes.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

bool ends_with(const std::string& name, std::string_view end) {
  return name.size() > end.size() && name.ends_with(end);
}

enum class Kind { text, packed, pairs, records };

/// JSON lines may be pairs or texts. None: nothing is there to tell; a pipe is read only once.
std::optional<Kind> kind_of_lines(const ScoreOptions& options, const std::string& file) {
  if (!std::filesystem::is_regular_file(file)) return {};
  try {
    std::string line;
    if (!Lines(file).next(line)) return {};
    const auto first = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool text = first.is_object() && first.contains(options.text_key);
    return text && !first.contains("context") ? Kind::records : Kind::pairs;
  } catch (const Error&) {
    return {};  // who reads it says what is wrong
  }
}

std::optional<Kind> kind_of(const ScoreOptions& options, const std::string& file) {
  if (options.pairs) return Kind::pairs;
  const auto name = without_compression(file);
  if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson")) return kind_of_lines(options, file);
  return ends_with(file, ".safetensors") ? Kind::packed : Kind::text;
}

bool has_documents(Kind kind) {
  return kind == Kind::packed || kind == Kind::records;
}

/// Nothing but the sums is printed.
bool is_summary(const ScoreOptions& options, Kind kind) {
  return !options.per_token && !options.by_position && kind != Kind::pairs;
}

}  // namespace

/// One file being scored.
class Scorer {
 public:
  Scorer(const LoadedModel& loaded, const ScoreOptions& options, const std::string& file, Kind kind,
         const std::function<Session()>& begin)
      : loaded_(loaded),
        options_(options),
        file_(file),
        kind_(kind),
        begin_(begin),
        score_(options.bucket) {
    const int64_t row = 4 * loaded.model.config().vocab_size;
    group_ = std::max<int64_t>(1, std::min(options.group, kLogitBytes / row));
  }

  /// The documents of packed data; another file is one part.
  int64_t parts() {
    if (kind_ != Kind::packed) return 1;
    open_packed();
    return packed_->documents();
  }

  FileScore part(int64_t number) {
    score_ = FileScore(options_.bucket);
    switch (kind_) {
      case Kind::pairs:
        score_pairs();
        break;
      case Kind::packed:
        score_document(number);
        break;
      case Kind::records:
        score_records();
        break;
      case Kind::text:
        score_text();
        break;
    }
    return std::move(score_);
  }

  FileScore run() {
    FileScore all(options_.bucket);
    all.file = file_;
    const int64_t count = parts();
    for (int64_t i = 0; i < count; ++i) all.add(part(i));
    if (is_summary(options_, kind_)) require_tokens(all);
    return all;
  }

 private:
  int64_t room(const Session& session) const { return group_ - session.tokens() % group_; }

  static void stop_if_asked() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }

  // --- texts and packed data -------------------------------------------------------------------

  /// Reads the next ids of a text and counts them.
  /// `counts`: bool, which of them do; undefined: all.
  void take(Session& session, const std::vector<int32_t>& ids, std::optional<int64_t> document,
            const at::Tensor& counts = {}) {
    const auto* counted = counts.defined() ? counts.const_data_ptr<bool>() : nullptr;
    const int64_t at = session.tokens();
    const auto scores = session.score(ids);
    std::string lines;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int64_t position = at + static_cast<int64_t>(i);
      if (options_.per_token) lines += line(position, ids[i], scores[i], document);
      if (!scores[i] || (counted != nullptr && !counted[i])) continue;
      score_.totals.add(*scores[i]);
      score_.positions.add(position, *scores[i]);
      if (document) score_.documents.back().add(*scores[i]);
    }
    cli::out(lines);
  }

  std::string line(int64_t position, int32_t id, const std::optional<TokenScore>& one,
                   std::optional<int64_t> document) const {
    const bool known = id < loaded_.tokenizer.vocab_size();
    return concat(many() ? cli::csv_field(file_) + "," : "",
                  document ? std::to_string(*document) + "," : "", position, ",", id, ",",
                  known ? cli::csv_field(loaded_.tokenizer.piece(id)) : "", ",",
                  one ? number(one->logprob, "%.7g") : "", "\n");
  }

  bool many() const { return options_.files.size() > 1; }

  void score_text() {
    auto session = begin_();
    const bool continued = session.tokens() > 0;
    auto reader = TextReader::from_file(loaded_.tokenizer, file_, continued);
    cli::Progress progress("scoring", static_cast<double>(reader.total_bytes()) / 1e6, "MB");
    take_all(session, reader, {}, [&] {
      progress.set(static_cast<double>(reader.bytes_read()) / 1e6,
                   concat(session.tokens(), " tokens"));
    });
  }

  /// A text from its beginning to its end; `after` each group.
  template <class After>
  void take_all(Session& session, TextReader& reader, std::optional<int64_t> document,
                const After& after) {
    begin_text(session);
    for (;;) {
      stop_if_asked();
      const auto ids = reader.next(static_cast<size_t>(room(session)));
      stop_if_asked();
      if (ids.empty()) break;
      take(session, ids, document);
      after();
    }
    score_.bytes += reader.bytes();
  }

  void begin_text(Session& session) const {
    const auto bos = loaded_.bos();
    if (session.tokens() == 0 && options_.bos && bos) session.read({*bos});
  }

  void open_packed() {
    if (packed_) return;
    packed_.emplace(PackedTokens::open(file_));
    packed_->require_tokenizer(loaded_.tokenizer.hash(), file_);
  }

  /// As it is stored: a document's first token has nothing before it, as in training.
  void score_document(int64_t d) {
    open_packed();
    if (!progress_) progress_.emplace("scoring", static_cast<double>(packed_->tokens()), "tokens");
    score_.packed = true;
    score_.documents.emplace_back();
    auto session = begin_();
    const int64_t end = packed_->begin(d + 1);
    for (int64_t at = packed_->begin(d); at < end;) {
      stop_if_asked();
      const auto ids = packed_->ids(at, std::min(end, at + room(session)));
      const auto* data = ids.const_data_ptr<int64_t>();
      take(session, std::vector<int32_t>(data, data + ids.numel()), d,
           packed_->scored(at, at + ids.numel()));
      at += ids.numel();
      progress_->set(static_cast<double>(at));
    }
  }

  /// Each text of JSON lines is a document of its own.
  void score_records() {
    DocumentOptions input;
    input.inputs = {file_};
    input.format = "jsonl";
    input.text_key = options_.text_key;
    Documents documents(input);
    cli::Progress progress("scoring", static_cast<double>(documents.total_bytes()) / 1e6, "MB");
    Documents::Part part;
    for (int64_t d = 0; documents.next(part); ++d) {
      auto session = begin_();
      score_.documents.emplace_back();
      auto reader = TextReader::from_text(loaded_.tokenizer, part.bytes, session.tokens() > 0);
      take_all(session, reader, d,
               [&] { progress.set(static_cast<double>(documents.bytes_read()) / 1e6); });
    }
  }

  // --- pairs -----------------------------------------------------------------------------------

  void score_pairs() {
    Lines lines(file_);
    for (std::string text; lines.next(text);) {
      stop_if_asked();
      score_pair(text, lines.where());
    }
  }

  static std::string field(const nlohmann::json& pair, const char* key, const std::string& where) {
    const auto found = pair.find(key);
    if (found == pair.end() || !found->is_string())
      throw Error(Exit::data, where, ": expected a string \"", key, "\"");
    return found->get<std::string>();
  }

  void score_pair(const std::string& text, const std::string& where) const {
    const auto pair = io::parse_json(text, where);
    if (!pair.is_object())
      throw Error(Exit::data, where, R"(: expected {"context": ..., "continuation": ...} or {")",
                  options_.text_key, R"(": ...})");
    auto context = field(pair, "context", where);
    auto continuation = field(pair, "continuation", where);
    if (continuation.empty()) throw Error(Exit::data, where, R"(: "continuation" is empty)");
    // As evaluation harnesses do: a space between the two belongs to the word after it, and the
    // continuation's tokens are what the whole has more than the context.
    const size_t end = context.find_last_not_of(" \t\r\n\f\v");
    const size_t kept = end == std::string::npos ? 0 : end + 1;
    continuation = context.substr(kept) + continuation;
    context.resize(kept);

    auto session = begin_();
    const bool continued = session.tokens() > 0;
    const auto before = loaded_.tokenizer.encode(context, continued);
    auto after = loaded_.tokenizer.encode(context + continuation, continued);
    after.erase(after.begin(),
                after.begin() + static_cast<ptrdiff_t>(std::min(before.size(), after.size())));
    // Joined with the context's last token it would count nothing, which nothing beats.
    if (after.empty()) after = loaded_.tokenizer.encode(continuation, /*continued=*/true);
    begin_text(session);
    each_group(session, before, [&](const auto& ids) { session.read(ids); });
    Totals totals;
    each_group(session, after, [&](const auto& ids) {
      for (const auto& one : session.score(ids))
        if (one) totals.add(*one);
    });
    if (totals.tokens == 0)
      throw Error(Exit::data, where,
                  ": the continuation is one token with nothing before it, not even a BOS: it has "
                  "no probability; give a context");
    Json line;
    if (many()) line["file"] = file_;
    line["logprob"] = totals.logprob;
    line["tokens"] = totals.tokens;
    line["is_greedy"] = totals.greedy == totals.tokens;
    cli::out(json_text(line, -1));
  }

  template <class Work>
  void each_group(const Session& session, const std::vector<int32_t>& ids, const Work& work) const {
    for (size_t at = 0; at < ids.size();) {
      stop_if_asked();
      const size_t count = std::min(ids.size() - at, static_cast<size_t>(room(session)));
      const auto from = ids.begin() + static_cast<ptrdiff_t>(at);
      work(std::vector<int32_t>(from, from + static_cast<ptrdiff_t>(count)));
      at += count;
    }
  }

  const LoadedModel& loaded_;
  const ScoreOptions& options_;
  const std::string& file_;
  Kind kind_;
  const std::function<Session()>& begin_;
  int64_t group_;
  FileScore score_;  // of the part at hand
  std::optional<PackedTokens> packed_;
  std::optional<cli::Progress> progress_;  // of packed data
};

namespace {

std::vector<Kind> kinds_of(const ScoreOptions& options) {
  std::vector<std::optional<Kind>> known;
  std::vector<Kind> kinds;  // of those that are known
  for (const auto& file : options.files)
    if (const auto kind = known.emplace_back(kind_of(options, file))) kinds.push_back(*kind);
  const auto many = static_cast<ptrdiff_t>(kinds.size());
  const auto pairs = std::count(kinds.begin(), kinds.end(), Kind::pairs);
  if (pairs > 0 && (options.per_token || options.by_position))
    throw Error(Exit::usage, "--per-token and --by-position are for texts, not for pairs");
  if (pairs > 0 && pairs < many) throw Error(Exit::usage, "pairs and texts are scored apart");
  const auto columns = std::count_if(kinds.begin(), kinds.end(), has_documents);
  if (options.per_token && columns > 0 && columns < many)
    throw Error(Exit::usage, "--per-token: texts and files of documents have different columns");
  const auto others = kinds.empty() ? Kind::pairs : kinds[0];
  kinds.clear();
  for (const auto& kind : known) kinds.push_back(kind.value_or(others));
  return kinds;
}

void print_header(const ScoreOptions& options, Kind kind) {
  if (options.per_token)
    cli::out(concat(options.files.size() > 1 ? "file," : "", has_documents(kind) ? "document," : "",
                    "position,id,piece,logprob\n"));
}

/// What can be wrong with one file and leaves the others as good as they were.
bool is_of_file(Exit code) {
  return code == Exit::data || code == Exit::no_input || code == Exit::io;
}

void score_many(const LoadedModel& loaded, const ScoreOptions& options,
                const std::vector<Kind>& kinds, const std::function<Session()>& begin) {
  const bool summary = is_summary(options, kinds[0]);
  ScoreTable table(options.bucket);
  if (summary && !options.json) cli::out(ScoreTable::header());
  std::optional<Exit> failure;
  for (size_t i = 0; i < options.files.size(); ++i) {
    const auto& file = options.files[i];
    try {
      table.add(Scorer(loaded, options, file, kinds[i], begin).run());
    } catch (const Error& error) {
      if (!is_of_file(error.code())) throw;
      log::write(log::Level::error, concat("error: ", error.what()));
      failure = failure.value_or(error.code());
      table.add_failure(file, error.what());
    }
    if (summary && !options.json) cli::out(table.last_row());
  }
  if (options.by_position) cli::out(positions_csv(table.total().positions));
  if (summary) cli::out(options.json ? json_text(table.json(), 2) : table.total_row());
  if (failure) throw Error(*failure, table.failed(), " of ", options.files.size(), " files failed");
}

}  // namespace

void require_tokens(const FileScore& score) {
  if (score.totals.tokens == 0) throw Error(Exit::data, score.file, ": has no token to score");
}

PartScorer::PartScorer(const LoadedModel& loaded, const ScoreOptions& options,
                       const std::function<Session()>& begin)
    : scorer_(std::make_unique<Scorer>(loaded, options, options.files.at(0),
                                       kind_of(options, options.files[0]).value_or(Kind::pairs),
                                       begin)) {}
PartScorer::~PartScorer() = default;
PartScorer::PartScorer(PartScorer&&) noexcept = default;

int64_t PartScorer::parts() {
  return scorer_->parts();
}
FileScore PartScorer::score(int64_t part) {
  return scorer_->part(part);
}

void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin) {
  const auto kinds = kinds_of(options);
  print_header(options, kinds[0]);
  if (kinds.size() > 1) return score_many(loaded, options, kinds, begin);
  const auto one = Scorer(loaded, options, options.files[0], kinds[0], begin).run();
  if (options.by_position)
    cli::out(positions_csv(one.positions));
  else if (is_summary(options, kinds[0]))
    cli::out(options.json ? json_text(to_json(one), 2) : to_text(one));
}

}  // namespace lact::text
