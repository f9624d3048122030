#include "batch.hpp"

#include <plugins/text/session/decoding_threads.hpp>
#include <plugins/text/session/lines.hpp>

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/log.hpp>
#include <lact/stopwatch.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <list>
#include <map>
#include <sstream>
#include <utility>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

/// Finished texts that may wait for one before them, for each that is written at a time.
constexpr int64_t kWaiting = 64;
/// Prompts of a round of several processes, for each of theirs that is written at a time: at its
/// end some wait for others.
constexpr int64_t kRound = 16;

struct Prompt {
  int64_t index = 0;
  Json id;  ///< of the file's line; null: none
  std::string text, error;
  std::optional<uint64_t> seed;
  std::optional<int64_t> max_tokens;  ///< in place of --predict
  std::optional<double> temperature;  ///< in place of --temp
  std::vector<std::string> stop;      ///< none of them is in the text
};

/// What servers take with a prompt and we do not: it would be ignored.
constexpr std::array kNotTaken = {"top_p",
                                  "top_k",
                                  "min_p",
                                  "n",
                                  "echo",
                                  "stream",
                                  "best_of",
                                  "suffix",
                                  "logprobs",
                                  "messages",
                                  "logit_bias",
                                  "min_tokens",
                                  "ignore_eos",
                                  "max_new_tokens",
                                  "presence_penalty",
                                  "frequency_penalty",
                                  "repetition_penalty",
                                  "max_completion_tokens"};

/// The prompts of a file, one after another.
class Prompts {
 public:
  explicit Prompts(const BatchOptions& options) : options_(options), lines_(options.file) {}

  /// The next one that is not empty; one that is wrong says why. None at the end.
  std::optional<Prompt> next() {
    std::string line;
    if (!lines_.next(line)) return {};
    if (!json_) json_ = line[line.find_first_not_of(" \t")] == '{';
    return parse(line);
  }

 private:
  Prompt parse(const std::string& line) {
    Prompt prompt;
    prompt.index = index_++;
    if (!*json_) {
      prompt.text = options_.escape ? unescape_prompt(line) : line;
      return prompt;
    }
    try {
      read_json(line, lines_.where(), prompt);
    } catch (const Error& error) {
      prompt.error = error.what();
    }
    return prompt;
  }

  static void read_json(const std::string& line, const std::string& where, Prompt& prompt) {
    const auto value = io::parse_json(line, where);
    if (!value.is_object()) throw Error(Exit::data, where, R"(: expected {"prompt": TEXT})");
    if (const auto id = value.find("id"); id != value.end()) prompt.id = *id;
    const auto text = value.find("prompt");
    if (text == value.end() || !text->is_string())
      throw Error(Exit::data, where, R"(: expected a string "prompt")");
    prompt.text = text->get<std::string>();
    const auto find = [&](const char* key) {  // null: not set
      const auto found = value.find(key);
      return found != value.end() && found->is_null() ? value.end() : found;
    };
    for (const char* key : kNotTaken)
      if (find(key) != value.end())
        throw Error(Exit::data, where, ": \"", key, "\": not taken with a prompt; see the options");
    const auto refuse = [&](const char* key, const char* expected) {
      throw Error(Exit::data, where, ": \"", key, "\": expected ", expected);
    };
    if (const auto seed = find("seed"); seed != value.end()) {
      if (!seed->is_number_unsigned()) refuse("seed", "a whole number from 0 to 2^64 - 1");
      prompt.seed = seed->get<uint64_t>();
    }
    if (const auto most = find("max_tokens"); most != value.end()) {
      if (!most->is_number_unsigned() || *most > uint64_t{1} << 40)
        refuse("max_tokens", "a whole number");
      prompt.max_tokens = most->get<int64_t>();
    }
    if (const auto temp = find("temperature"); temp != value.end()) {
      if (!temp->is_number() || !(*temp >= 0.0) || !(*temp <= 1e6))
        refuse("temperature", "a number, 0 or above");
      prompt.temperature = temp->get<double>();
    }
    if (const auto stop = find("stop"); stop != value.end()) {
      const auto all = stop->is_array() ? *stop : nlohmann::json::array({*stop});
      for (const auto& one : all) {
        if (!one.is_string() || one.get_ref<const std::string&>().empty())
          refuse("stop", "a text, or a list of texts");
        prompt.stop.push_back(one.get<std::string>());
      }
    }
  }

  const BatchOptions& options_;
  Lines lines_;
  std::optional<bool> json_;
  int64_t index_ = 0;
};

/// A text being written.
struct Row {
  int64_t index;
  Json id;
  Session session;
  int64_t predict = -1;
  std::vector<std::string> stop;
  int64_t prompt_tokens = 0, written = 0;
  std::string text;
  size_t begin = 0;                ///< of what was written, in text
  const char* finished = nullptr;  ///< why nothing more comes
};

class Batch {
 public:
  Batch(const LoadedModel& loaded, const BatchOptions& options, const cli::Processes& processes,
        const Begin& begin)
      : loaded_(loaded),
        options_(options),
        processes_(processes),
        begin_(begin),
        prompts_(options) {}

  void run() {
    const Stopwatch watch;
    while (more_) {
      round();
      if (processes_.size() > 1) share();
    }
    const double seconds = watch.seconds();
    log::debug("wrote ", tokens_, " tokens for ", next_, " prompts in ", seconds, " s, ",
               static_cast<double>(tokens_) / seconds, " tokens/s");
    if (failed_ > 0)
      throw Error(Exit::data, options_.file, ": ", failed_, " of ", next_, " prompts failed");
  }

 private:
  void stop_if_asked() {
    if (!cli::stop_requested()) return;
    print();
    throw cli::Interrupted();
  }

  // --- rounds ----------------------------------------------------------------------------------

  /// All prompts of one process; of several, this one's of the next ones.
  void round() {
    if (processes_.size() > 1) end_ = read_ + processes_.size() * options_.parallel * kRound;
    for (;;) {
      admit();
      print();
      if (rows_.empty() && !waits()) return;
      write_one();
      retire();
    }
  }

  bool waits() const { return more_ && read_ < end_; }

  /// Rank 0 gets what the others have written and what they could not.
  void share() {
    std::string mine;
    for (const auto& [index, line] : lines_) mine += line;
    lines_.clear();
    std::vector<std::istringstream> ranks;
    for (const auto& lines : processes_.gather(mine)) ranks.emplace_back(lines);
    const auto failures = processes_.gather(std::exchange(failures_, {}));
    for (size_t rank = 1; rank < failures.size(); ++rank) {
      std::istringstream lines(failures[rank]);
      for (std::string line; std::getline(lines, line); ++failed_) log::warning(line);
    }
    for (; next_ < read_; ++next_) {
      std::string line;
      std::getline(ranks[static_cast<size_t>(next_ % processes_.size())], line);
      if (processes_.chief()) cli::out(line + "\n");
    }
  }

  // --- in --------------------------------------------------------------------------------------

  void admit() {
    const auto limit = static_cast<size_t>(options_.parallel * kWaiting);
    while (waits() && static_cast<int64_t>(rows_.size()) < options_.parallel &&
           lines_.size() < limit) {
      stop_if_asked();
      auto prompt = prompts_.next();
      more_ = prompt.has_value();
      if (!more_) return;
      ++read_;
      if (prompt->index % processes_.size() != processes_.rank()) continue;
      if (!prompt->error.empty())
        fail(*prompt, prompt->error);
      else
        begin_row(*prompt);
    }
  }

  void begin_row(const Prompt& prompt) {
    decoding_.reset();
    rows_.push_back({prompt.index, prompt.id, begin_(prompt.seed, prompt.index)});
    auto& row = rows_.back();
    row.predict = prompt.max_tokens.value_or(options_.predict);
    row.stop = prompt.stop;
    if (prompt.temperature) row.session.set_temperature(*prompt.temperature);
    try {
      read(prompt, row);
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
      rows_.pop_back();
      return fail(prompt, error.what());
    }
    if (row.predict == 0) {
      row.finished = "length";
      retire();
    } else if (!row.session.ready()) {
      rows_.pop_back();
      fail(prompt, concat("prompt ", prompt.index, " is empty and there is no BOS"));
    }
  }

  void read(const Prompt& prompt, Row& row) {
    const int64_t before = row.session.tokens();
    auto reader = TextReader::from_text(loaded_.tokenizer, prompt.text, before > 0);
    if (before > 0) row.text = row.session.held_back();
    if (options_.echo) row.text += prompt.text;
    if (!read_prompt(loaded_, row.session, reader, options_.read)) stop_if_asked();
    row.prompt_tokens = row.session.tokens() - before;
    row.begin = row.text.size();
  }

  void fail(const Prompt& prompt, const std::string& why) {
    log::warning(why);
    if (processes_.chief())
      ++failed_;
    else
      failures_ += why + "\n";
    Json line{{"index", prompt.index}};
    if (!prompt.id.is_null()) line["id"] = prompt.id;
    line["error"] = why;
    lines_[prompt.index] = dump(line);
  }

  // --- on --------------------------------------------------------------------------------------

  /// One token of every text.
  void write_one() {
    stop_if_asked();
    if (!decoding_) decoding_.emplace(loaded_.model.config());
    std::vector<Session*> going;
    std::vector<int32_t> ids;
    for (auto& row : rows_) {
      const int32_t id = row.session.choose();
      if (loaded_.ends_text(id) && !options_.ignore_eos) {
        row.finished = "stop";
        continue;
      }
      const auto said = row.session.say(id);
      row.text += said;
      ++tokens_;
      ++row.written;
      if (stops(row, said.size())) {
        row.finished = "stop";
        continue;
      }
      if (row.written == row.predict) {
        row.finished = "length";
        continue;
      }
      going.push_back(&row.session);
      ids.push_back(id);
    }
    if (!going.empty()) Session::read_together(going, ids);
  }

  /// Cuts the text where a word begins that ends it, which the last `said` bytes completed.
  static bool stops(Row& row, size_t said) {
    size_t first = std::string::npos;
    for (const auto& word : row.stop) {
      const size_t back = std::min(row.text.size() - row.begin, said + word.size() - 1);
      first = std::min(first, row.text.find(word, row.text.size() - back));
    }
    if (first == std::string::npos) return false;
    (void)row.session.held_back();  // it came after
    row.text.resize(first);
    return true;
  }

  // --- out -------------------------------------------------------------------------------------

  static std::string dump(const Json& line) {
    return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }

  /// Finished texts give their place to others.
  void retire() {
    for (auto row = rows_.begin(); row != rows_.end();) {
      if (row->finished == nullptr) {
        ++row;
        continue;
      }
      Json line{{"index", row->index}};
      if (!row->id.is_null()) line["id"] = row->id;
      line["text"] = row->text + row->session.held_back();
      line["prompt_tokens"] = row->prompt_tokens;
      line["tokens"] = row->written;
      line["finish_reason"] = row->finished;
      lines_[row->index] = dump(line);
      row = rows_.erase(row);
    }
  }

  /// What is finished, up to the first that is not. Of several processes, at the end of a round.
  void print() {
    if (processes_.size() > 1) return;
    while (!lines_.empty() && lines_.begin()->first == next_) {
      cli::out(lines_.begin()->second);
      lines_.erase(lines_.begin());
      ++next_;
    }
  }

  const LoadedModel& loaded_;
  const BatchOptions& options_;
  const cli::Processes& processes_;
  const Begin& begin_;
  Prompts prompts_;
  bool more_ = true;
  std::list<Row> rows_;
  std::map<int64_t, std::string> lines_;
  std::optional<DecodingThreads> decoding_;
  int64_t read_ = 0, end_ = std::numeric_limits<int64_t>::max();  // prompts; of this round
  std::string failures_;                                          // that rank 0 does not know yet
  int64_t next_ = 0, failed_ = 0, tokens_ = 0;
};

}  // namespace

void generate_batch(const LoadedModel& loaded, const BatchOptions& options,
                    const cli::Processes& processes, const Begin& begin) {
  Batch(loaded, options, processes, begin).run();
}

}  // namespace lact::text
