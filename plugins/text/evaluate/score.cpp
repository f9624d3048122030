#include "score.hpp"

#include "score_report.hpp"

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

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

/// Logits of one group stay below this many bytes.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

bool ends_with(const std::string& name, std::string_view end) {
  return name.size() > end.size() && name.ends_with(end);
}

bool is_pairs(const ScoreOptions& options, const std::string& file) {
  return options.pairs || ends_with(file, ".jsonl");
}

/// Nothing but the sums is printed.
bool is_summary(const ScoreOptions& options) {
  return !options.per_token && !options.by_position && !is_pairs(options, options.files[0]);
}

/// One file being scored.
class Scorer {
 public:
  Scorer(const LoadedModel& loaded, const ScoreOptions& options, const std::string& file,
         const std::function<Session()>& begin)
      : loaded_(loaded), options_(options), file_(file), begin_(begin), score_(options.bucket) {
    const int64_t row = 4 * loaded.model.config().vocab_size;
    group_ = std::max<int64_t>(1, std::min(options.group, kLogitBytes / row));
  }

  FileScore run() {
    score_.file = file_;
    if (is_pairs(options_, file_))
      score_pairs();
    else if (ends_with(file_, ".safetensors"))
      score_packed();
    else
      score_text();
    if (score_.totals.tokens == 0 && is_summary(options_))
      throw Error(Exit::data, file_, ": has no token to score");
    return std::move(score_);
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
    begin_text(session);
    for (;;) {
      stop_if_asked();
      const auto ids = reader.next(static_cast<size_t>(room(session)));
      stop_if_asked();
      if (ids.empty()) break;
      take(session, ids, {});
      progress.set(static_cast<double>(reader.bytes()) / 1e6, concat(session.tokens(), " tokens"));
    }
    score_.bytes = reader.bytes();
  }

  void begin_text(Session& session) const {
    const auto bos = loaded_.bos();
    if (session.tokens() == 0 && options_.bos && bos) session.read({*bos});
  }

  /// As it is stored: a document's first token has nothing before it, as in training.
  void score_packed() {
    const auto packed = PackedTokens::open(file_);
    packed.require_tokenizer(loaded_.tokenizer.hash(), file_);
    score_.packed = true;
    cli::Progress progress("scoring", static_cast<double>(packed.tokens()), "tokens");
    for (int64_t d = 0; d < packed.documents(); ++d) {
      auto session = begin_();
      score_.documents.emplace_back();
      const int64_t end = packed.begin(d + 1);
      for (int64_t at = packed.begin(d); at < end;) {
        stop_if_asked();
        const auto ids = packed.ids(at, std::min(end, at + room(session)));
        const auto* data = ids.const_data_ptr<int64_t>();
        take(session, std::vector<int32_t>(data, data + ids.numel()), d,
             packed.scored(at, at + ids.numel()));
        at += ids.numel();
        progress.set(static_cast<double>(at));
      }
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
      throw Error(Exit::data, where, R"(: expected {"context": ..., "continuation": ...})");
    auto context = field(pair, "context", where);
    auto continuation = field(pair, "continuation", where);
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
    begin_text(session);
    each_group(session, before, [&](const auto& ids) { session.read(ids); });
    Totals totals;
    each_group(session, after, [&](const auto& ids) {
      for (const auto& one : session.score(ids))
        if (one) totals.add(*one);
    });
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
  const std::function<Session()>& begin_;
  int64_t group_;
  FileScore score_;
};

void check(const ScoreOptions& options) {
  const auto pairs = std::count_if(options.files.begin(), options.files.end(),
                                   [&](const auto& file) { return is_pairs(options, file); });
  if (pairs > 0 && (options.per_token || options.by_position))
    throw Error(Exit::usage, "--per-token and --by-position are for texts, not for pairs");
  if (pairs > 0 && pairs < static_cast<ptrdiff_t>(options.files.size()))
    throw Error(Exit::usage, "pairs and texts are scored apart");
}

void print_header(const ScoreOptions& options) {
  const bool many = options.files.size() > 1;
  const auto packed =
      std::count_if(options.files.begin(), options.files.end(),
                    [](const auto& file) { return ends_with(file, ".safetensors"); });
  if (options.per_token && packed > 0 && packed < static_cast<ptrdiff_t>(options.files.size()))
    throw Error(Exit::usage, "--per-token: texts and packed data have different columns");
  if (options.per_token)
    cli::out(
        concat(many ? "file," : "", packed > 0 ? "document," : "", "position,id,piece,logprob\n"));
}

/// What can be wrong with one file and leaves the others as good as they were.
bool is_of_file(Exit code) {
  return code == Exit::data || code == Exit::no_input || code == Exit::io;
}

void score_many(const LoadedModel& loaded, const ScoreOptions& options,
                const std::function<Session()>& begin) {
  const bool summary = is_summary(options);
  ScoreTable table(options.bucket);
  if (summary && !options.json) cli::out(ScoreTable::header());
  std::optional<Exit> failure;
  for (const auto& file : options.files) {
    try {
      table.add(Scorer(loaded, options, file, begin).run());
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

FileScore score_file(const LoadedModel& loaded, const ScoreOptions& options,
                     const std::function<Session()>& begin) {
  return Scorer(loaded, options, options.files.at(0), begin).run();
}

void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin) {
  check(options);
  print_header(options);
  if (options.files.size() > 1) return score_many(loaded, options, begin);
  const auto one = score_file(loaded, options, begin);
  if (options.by_position)
    cli::out(positions_csv(one.positions));
  else if (is_summary(options))
    cli::out(options.json ? json_text(to_json(one), 2) : to_text(one));
}

}  // namespace lact::text
