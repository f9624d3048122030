#include "batch.hpp"

#include <plugins/text/session/decoding_threads.hpp>
#include <plugins/text/session/lines.hpp>

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/log.hpp>
#include <lact/stopwatch.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>
#include <list>
#include <map>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

/// Finished texts that may wait for one before them, for each that is written at a time.
constexpr int64_t kWaiting = 64;

struct Prompt {
  int64_t index = 0;
  Json id;  ///< of the file's line; null: none
  std::string text, error;
  std::optional<uint64_t> seed;
};

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
    const auto seed = value.find("seed");
    if (seed == value.end()) return;
    if (!seed->is_number_unsigned())
      throw Error(Exit::data, where, R"(: "seed": expected a whole number from 0 to 2^64 - 1)");
    prompt.seed = seed->get<uint64_t>();
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
  int64_t prompt_tokens = 0, written = 0;
  std::string text;
  const char* finished = nullptr;  ///< why nothing more comes
};

class Batch {
 public:
  Batch(const LoadedModel& loaded, const BatchOptions& options, const Begin& begin)
      : loaded_(loaded), options_(options), begin_(begin), prompts_(options) {}

  void run() {
    const Stopwatch watch;
    for (;;) {
      admit();
      print();
      if (rows_.empty() && !more_) break;
      write_one();
      retire();
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

  // --- in --------------------------------------------------------------------------------------

  void admit() {
    const auto limit = static_cast<size_t>(options_.parallel * kWaiting);
    while (more_ && static_cast<int64_t>(rows_.size()) < options_.parallel &&
           lines_.size() < limit) {
      stop_if_asked();
      auto prompt = prompts_.next();
      more_ = prompt.has_value();
      if (!more_) return;
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
    try {
      read(prompt, row);
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
      rows_.pop_back();
      return fail(prompt, error.what());
    }
    if (options_.predict == 0) {
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
  }

  void fail(const Prompt& prompt, const std::string& why) {
    ++failed_;
    log::warning(why);
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
      if (loaded_.eos() == id && !options_.ignore_eos) {
        row.finished = "stop";
        continue;
      }
      row.text += row.session.say(id);
      ++tokens_;
      if (++row.written == options_.predict) {
        row.finished = "length";
        continue;
      }
      going.push_back(&row.session);
      ids.push_back(id);
    }
    if (!going.empty()) Session::read_together(going, ids);
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

  /// What is finished, up to the first that is not.
  void print() {
    while (!lines_.empty() && lines_.begin()->first == next_) {
      cli::out(lines_.begin()->second);
      lines_.erase(lines_.begin());
      ++next_;
    }
  }

  const LoadedModel& loaded_;
  const BatchOptions& options_;
  const Begin& begin_;
  Prompts prompts_;
  bool more_ = true;
  std::list<Row> rows_;
  std::map<int64_t, std::string> lines_;
  std::optional<DecodingThreads> decoding_;
  int64_t next_ = 0, failed_ = 0, tokens_ = 0;
};

}  // namespace

void generate_batch(const LoadedModel& loaded, const BatchOptions& options, const Begin& begin) {
  Batch(loaded, options, begin).run();
}

}  // namespace lact::text
