#include "score.hpp"

#include "csv.hpp"
#include "packed.hpp"
#include "reader.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numbers>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;
using Scores = std::vector<std::optional<TokenScore>>;

/// Logits of one group stay below this many bytes.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

struct Totals {
  double logprob = 0;
  int64_t tokens = 0, greedy = 0;

  void add(const TokenScore& one) {
    logprob += one.logprob;
    ++tokens;
    greedy += one.greedy;
  }
  double loss() const { return tokens > 0 ? -logprob / static_cast<double>(tokens) : 0; }
};

/// Loss by the position of the predicted token.
class Positions {
 public:
  explicit Positions(int64_t width) : width_(width) {}

  void add(int64_t position, const TokenScore& one) {
    const auto at = static_cast<size_t>(
        width_ > 0 ? position / width_ : std::bit_width(static_cast<uint64_t>(position)));
    if (at >= totals_.size()) totals_.resize(at + 1);
    totals_[at].add(one);
  }

  /// Calls visit(first, last, totals) for every stretch that has tokens.
  template <class Visit>
  void each(const Visit& visit) const {
    for (size_t i = 0; i < totals_.size(); ++i) {
      if (totals_[i].tokens == 0) continue;
      const auto n = static_cast<int64_t>(i);
      const int64_t from = width_ > 0 ? n * width_ : n == 0 ? 0 : int64_t{1} << (n - 1);
      const int64_t next = width_ > 0 ? (n + 1) * width_ : int64_t{1} << n;
      visit(from, next - 1, totals_[i]);
    }
  }

 private:
  int64_t width_;
  std::vector<Totals> totals_;
};

std::string number(double value, const char* form = "%.6g") {
  char text[40];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

std::string dump(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

class Scorer {
 public:
  Scorer(const LoadedModel& loaded, const ScoreOptions& options,
         const std::function<Session()>& begin)
      : loaded_(loaded), options_(options), begin_(begin), positions_(options.bucket) {
    const int64_t row = 4 * loaded.model.config().vocab_size;
    group_ = std::max<int64_t>(1, std::min(options.group, kLogitBytes / row));
  }

  void run() {
    const auto has_end = [&](std::string_view end) {
      return options_.file.size() > end.size() && options_.file.ends_with(end);
    };
    const bool pairs = options_.pairs || has_end(".jsonl");
    if (pairs && (options_.per_token || options_.by_position))
      throw Error(Exit::usage, "--per-token and --by-position are for texts, not for pairs");
    if (pairs) return score_pairs();
    if (has_end(".safetensors"))
      score_packed();
    else
      score_text();
    if (options_.by_position) print_positions();
    if (!options_.per_token && !options_.by_position) print_summary();
  }

 private:
  int64_t room(const Session& session) const { return group_ - session.tokens() % group_; }

  static void stop_if_asked() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }

  // --- texts and packed data -------------------------------------------------------------------

  /// Reads the next ids of a text and counts them.
  void take(Session& session, const std::vector<int32_t>& ids, std::optional<int64_t> document) {
    const int64_t at = session.tokens();
    const auto scores = session.score(ids);
    std::string lines;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int64_t position = at + static_cast<int64_t>(i);
      if (options_.per_token) lines += line(position, ids[i], scores[i], document);
      if (!scores[i]) continue;
      totals_.add(*scores[i]);
      positions_.add(position, *scores[i]);
      if (document) documents_.back().add(*scores[i]);
    }
    cli::out(lines);
  }

  std::string line(int64_t position, int32_t id, const std::optional<TokenScore>& one,
                   std::optional<int64_t> document) const {
    const bool known = id < loaded_.tokenizer.vocab_size();
    return concat(document ? std::to_string(*document) + "," : "", position, ",", id, ",",
                  known ? csv_field(loaded_.tokenizer.piece(id)) : "", ",",
                  one ? number(one->logprob, "%.7g") : "", "\n");
  }

  void print_header(bool documents) const {
    if (options_.per_token)
      cli::out(concat(documents ? "document," : "", "position,id,piece,logprob\n"));
  }

  void score_text() {
    auto session = begin_();
    const bool continued = session.tokens() > 0;
    auto reader = TextReader::from_file(loaded_.tokenizer, options_.file, continued);
    cli::Progress progress("scoring", static_cast<double>(reader.total_bytes()) / 1e6, "MB");
    print_header(false);
    begin_text(session);
    for (;;) {
      stop_if_asked();
      const auto ids = reader.next(static_cast<size_t>(room(session)));
      stop_if_asked();
      if (ids.empty()) break;
      take(session, ids, {});
      progress.set(static_cast<double>(reader.bytes()) / 1e6, concat(session.tokens(), " tokens"));
    }
    text_bytes_ = reader.bytes();
  }

  void begin_text(Session& session) const {
    const auto bos = loaded_.bos();
    if (session.tokens() == 0 && options_.bos && bos) session.read({*bos});
  }

  /// As it is stored: a document's first token has nothing before it, as in training.
  void score_packed() {
    const auto packed = PackedTokens::open(options_.file);
    if (packed.tokenizer() != loaded_.tokenizer.hash())
      throw Error(Exit::data, options_.file, ": packed with tokenizer ",
                  packed.tokenizer().substr(0, 12), ", the model's is ",
                  loaded_.tokenizer.hash().substr(0, 12));
    packed_ = true;
    cli::Progress progress("scoring", static_cast<double>(packed.tokens()), "tokens");
    print_header(true);
    for (int64_t d = 0; d < packed.documents(); ++d) {
      auto session = begin_();
      documents_.emplace_back();
      const int64_t end = packed.begin(d + 1);
      for (int64_t at = packed.begin(d); at < end;) {
        stop_if_asked();
        const auto ids = packed.ids(at, std::min(end, at + room(session)));
        const auto* data = ids.const_data_ptr<int64_t>();
        take(session, std::vector<int32_t>(data, data + ids.numel()), d);
        at += ids.numel();
        progress.set(static_cast<double>(at));
      }
    }
  }

  Json by_position() const {
    auto rows = Json::array();
    positions_.each([&](int64_t from, int64_t to, const Totals& totals) {
      rows.push_back(
          {{"from", from}, {"to", to}, {"tokens", totals.tokens}, {"loss", totals.loss()}});
    });
    return rows;
  }

  void print_positions() const {
    std::string text = "from,to,tokens,loss\n";
    positions_.each([&](int64_t from, int64_t to, const Totals& totals) {
      text += concat(from, ",", to, ",", totals.tokens, ",", number(totals.loss(), "%.7g"), "\n");
    });
    cli::out(text);
  }

  void print_summary() const {
    if (totals_.tokens == 0) throw Error(Exit::data, options_.file, ": has no token to score");
    const double accuracy =
        static_cast<double>(totals_.greedy) / static_cast<double>(totals_.tokens);
    const double bits = -totals_.logprob / std::numbers::ln2 /
                        static_cast<double>(std::max<uint64_t>(text_bytes_, 1));
    if (options_.json) {
      Json all{{"file", options_.file},
               {"tokens", totals_.tokens},
               {"loss", totals_.loss()},
               {"perplexity", std::exp(totals_.loss())},
               {"accuracy", accuracy}};
      if (!packed_) all["bits_per_byte"] = bits;
      all["by_position"] = by_position();
      if (packed_) all["documents"] = documents_json();
      return cli::out(dump(all, 2));
    }
    std::string text =
        concat("tokens         ", totals_.tokens, "\n", "loss           ", number(totals_.loss()),
               " nats a token\n", "perplexity     ", number(std::exp(totals_.loss())), "\n");
    if (!packed_) text += concat("bits a byte    ", number(bits), "\n");
    text += concat("accuracy       ", number(100 * accuracy, "%.2f"), " %\n");
    text += "\n      position     tokens       loss\n";
    positions_.each([&](int64_t from, int64_t to, const Totals& totals) {
      char row[96];
      std::snprintf(row, sizeof row, "%14s %10lld %10.4f\n", concat(from, "-", to).c_str(),
                    static_cast<long long>(totals.tokens), totals.loss());
      text += row;
    });
    if (packed_) text += "\n      document     tokens       loss\n";
    for (size_t d = 0; d < documents_.size(); ++d) {
      char row[96];
      std::snprintf(row, sizeof row, "%14zu %10lld %10.4f\n", d,
                    static_cast<long long>(documents_[d].tokens), documents_[d].loss());
      text += row;
    }
    cli::out(text);
  }

  Json documents_json() const {
    auto rows = Json::array();
    for (size_t d = 0; d < documents_.size(); ++d) {
      Json row{{"document", d}, {"tokens", documents_[d].tokens}, {"loss", nullptr}};
      if (documents_[d].tokens > 0) row["loss"] = documents_[d].loss();
      rows.push_back(row);
    }
    return rows;
  }

  // --- pairs -----------------------------------------------------------------------------------

  void score_pairs() {
    std::ifstream file;
    const bool from_stdin = options_.file == "-";
    if (!from_stdin) {
      file.open(options_.file, std::ios::binary);
      if (!file) throw Error(Exit::no_input, options_.file, ": cannot be read");
    }
    std::istream& input = from_stdin ? std::cin : file;
    std::string text;
    for (int64_t number = 1; std::getline(input, text); ++number) {
      stop_if_asked();
      if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
      score_pair(text, concat(from_stdin ? "stdin" : options_.file, ":", number));
    }
    if (input.bad()) throw Error(Exit::io, options_.file, ": cannot be read to its end");
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
    cli::out(dump({{"logprob", totals.logprob},
                   {"tokens", totals.tokens},
                   {"is_greedy", totals.greedy == totals.tokens}},
                  -1));
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
  const std::function<Session()>& begin_;
  int64_t group_;
  Totals totals_;
  Positions positions_;
  std::vector<Totals> documents_;
  bool packed_ = false;
  uint64_t text_bytes_ = 0;
};

}  // namespace

void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin) {
  Scorer(loaded, options, begin).run();
}

}  // namespace lact::text
