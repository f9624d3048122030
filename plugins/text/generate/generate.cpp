// lact-generate text: reads a prompt of any length, writes on, and keeps what it has read.

#include "batch.hpp"

#include <plugins/common/commands/state_options.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/score.hpp>
#include <plugins/text/session/decoding_threads.hpp>
#include <plugins/text/session/prompt.hpp>
#include <plugins/text/session/sampler_arguments.hpp>
#include <plugins/text/session/session.hpp>

#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>
#include <lact/stopwatch.hpp>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <limits>

namespace lact::text {
namespace {

std::string rate(const char* what, int64_t tokens, double seconds) {
  char text[96];
  std::snprintf(text, sizeof text, "%s %lld tokens in %.2f s, %.1f tokens/s", what,
                static_cast<long long>(tokens), seconds,
                static_cast<double>(tokens) / std::max(seconds, 1e-9));
  return text;
}

class Generate final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    declare_input(options.group("Input"));
    declare_sampling(options.group("Sampling, in this order"));
    state_options_.declare(options.group("States"),
                           "continue from this state as if never interrupted; --prompt or --seed "
                           "make it a branch",
                           "write everything that the next token depends on, at the end");
    declare_scoring(options);
    processes_.declare(options);
  }

  void run(cli::Context& context) override {
    if (state_options_.inspect(context)) return;
    check_options();
    if (prompts_.file.empty()) {
      cli::require_one_process("lact-generate text without --batch");
      work(context);
    } else {
      processes_.run(context, [&] { work(context); });
    }
  }

 private:
  void work(const cli::Context& context) {
    processes_.require_file(prompts_.file, "--batch");
    processes_.require_file(state_options_.file(), "--state");
    score_.files.insert(score_.files.end(), more_files_.begin(), more_files_.end());
    state_ = state_options_.load();
    const auto loaded = load(context);
    complete_sampler(loaded);
    const auto begin = [&] { return make_session(loaded, context.seed); };
    if (!score_.files.empty()) {
      score_.group = batch_;
      score_.bos = !no_bos_;
      score_.json = context.json;
      return score(loaded, score_, begin);
    }
    if (!prompts_.file.empty()) return write_batch(loaded, context);
    auto session = begin();
    if (context.json) return write_json(loaded, session, context);
    write_on(loaded, session);
    if (::isatty(STDOUT_FILENO) == 1 && predict_ != 0) cli::out("\n");
  }

  // --- options ---------------------------------------------------------------------------------

  void declare_input(cli::Options options) {
    options.add("--model", model_, "model directory, or run directory (its newest checkpoint)")
        .value("DIR");
    options
        .add("--tokenizer", tokenizer_,
             "SentencePiece model (default: tokenizer.model beside the model)")
        .value("FILE");
    options.add("-p,--prompt", prompt_, "text to continue").value("TEXT");
    options
        .add("-f,--file,--prompt-file", prompt_file_,
             "file to continue, of any length; -: stdin, which is also read where no prompt or "
             "state is given, unless it is a terminal")
        .value("FILE");
    options
        .add("--batch", prompts_.file,
             "continue many prompts independently: lines of text, or JSONL of {\"prompt\": TEXT} "
             "with optional \"id\", \"seed\", \"max_tokens\", \"temperature\" and \"stop\"; -: "
             "stdin. "
             "Prints one line of JSON per prompt")
        .value("FILE");
    options.add("--parallel", prompts_.parallel, "prompts of --batch that are continued at a time")
        .range(1, 1 << 16);
    options.flag("-e,--escape", escape_,
                 "interpret \\n, \\t, \\r and \\\\ in --prompt and in lines of --batch as C does");
    options.flag("--no-bos", no_bos_, "do not begin the text with the BOS token");
    options.add("-b,--batch-size", batch_, "tokens of the prompt that are read at a time")
        .range(1, 1 << 20);
    options
        .add("-n,--predict,--n-predict", predict_,
             "tokens to generate; 0: only read; -1: until the end of the text, or forever")
        .at_least(-1)
        .value("N");
    options.flag("--echo", echo_, "print the prompt before its continuation");
  }

  void declare_sampling(cli::Options options) {
    options.flag("--ignore-eos", ignore_eos_, "continue after the end-of-text token");
    sampling_.declare(options);
  }

  void declare_scoring(cli::Options all) {
    all.add("FILE", more_files_, "further files to score, as --score *.txt passes them");
    auto options = all.group("Scoring");
    options
        .add("--score", score_.files,
             "measure how likely a text is: loss, perplexity, loss by position; -: stdin. Packed "
             "data (*.safetensors) and JSON lines of texts (*.jsonl) by document, pairs (*.jsonl) "
             "with one line of JSON each, several files in a table")
        .value("FILE");
    options.flag("--pairs", score_.pairs,
                 "read the file to score as JSONL of {\"context\": TEXT, \"continuation\": TEXT}");
    options
        .add("--text-key", score_.text_key, "key of the text in each JSON line of a file to score")
        .value("KEY");
    options.flag("--per-token", score_.per_token,
                 "print CSV of every token: position, id, piece, log-probability");
    options.flag("--by-position", score_.by_position, "print CSV of the loss by position");
    options
        .add("--bucket", score_.bucket,
             "positions that are averaged for the loss by position; 0: 1, 2-3, 4-7, 8-15, ...")
        .range(int64_t{0}, int64_t{1} << 40);
  }

  void check_options() const {
    if (!more_files_.empty() && score_.files.empty())
      throw Error(Exit::usage, "unexpected argument '", more_files_[0],
                  "'; a text to continue comes with --prompt or --prompt-file");
    if (model_.empty()) throw Error(Exit::usage, "--model is required");
    const bool prompted = prompt_.has_value() || !prompt_file_.empty();
    if (prompt_ && !prompt_file_.empty())
      throw Error(Exit::usage, "--prompt and --prompt-file exclude each other");
    const bool batch = !prompts_.file.empty();
    if (batch && (prompted || !score_.files.empty() || state_options_.saves()))
      throw Error(Exit::usage, "--batch takes no other prompt, scores nothing and saves no state");
    if (!score_.files.empty() && (prompted || state_options_.saves()))
      throw Error(Exit::usage, "--score takes no prompt and saves no state");
    if (score_.files.empty() && (score_.per_token || score_.by_position || score_.pairs))
      throw Error(Exit::usage, "--per-token, --by-position and --pairs need --score");
    if (score_.per_token && score_.by_position)
      throw Error(Exit::usage, "--per-token and --by-position exclude each other");
    state_options_.check_folder();
    if (score_.files.empty() && !prompted && !batch && !state_options_.loads() &&
        ::isatty(STDIN_FILENO) == 1)
      throw Error(Exit::usage, "nothing to continue: give --prompt, --prompt-file or --state");
  }

  // --- making ready ----------------------------------------------------------------------------

  LoadedModel load(const cli::Context& context) const {
    const Stopwatch watch;
    LoadOptions options{model_, tokenizer_, context.device,
                        commands::product_type(context, context.dtype, state_),
                        state_.has_value() || state_options_.saves() || processes_.size() > 1};
    auto loaded = load_model(options);
    processes_.require_same(concat(loaded.hash, ", ", ops::dtype_name(options.dtype)), "models");
    log::debug(loaded.where, ": loaded in ", watch.seconds(), " s, ",
               ops::dtype_name(options.dtype), " on ", context.device.str());
    return loaded;
  }

  void complete_sampler(const LoadedModel& loaded) {
    asked_ = sampler_ = sampling_.resolve(state_ ? &*state_ : nullptr);
    for (const int32_t id : loaded.ends)
      if (ignore_eos_)
        sampler_.logit_bias.emplace_back(id, -std::numeric_limits<double>::infinity());
  }

  Session make_session(const LoadedModel& loaded, std::optional<uint64_t> given) const {
    if (state_) return {loaded, sampler_, *state_, given};
    return {loaded, sampler_, given.value_or(kDefaultSeed)};
  }

  // --- the work --------------------------------------------------------------------------------

  ReadOptions read_options() const { return {batch_, !no_bos_}; }

  void write_batch(const LoadedModel& loaded, const cli::Context& context) {
    prompts_.predict = predict_;
    prompts_.escape = escape_;
    prompts_.echo = echo_;
    prompts_.ignore_eos = ignore_eos_;
    prompts_.read = read_options();
    generate_batch(loaded, prompts_, processes_, [&](std::optional<uint64_t> seed, int64_t prompt) {
      if (!seed) seed = context.seed;
      if (!seed && !state_) seed = kDefaultSeed + static_cast<uint64_t>(prompt);
      return make_session(loaded, seed);
    });
  }

  /// The text as one object, with what it takes to have it again.
  void write_json(const LoadedModel& loaded, Session& session, const cli::Context& context) {
    Answer answer;
    out_ = [&](std::string_view text) { answer.text += text; };
    answer_ = &answer;
    const auto print = [&] {
      nlohmann::ordered_json line{{"text", answer.text},
                                  {"prompt_tokens", answer.prompt_tokens},
                                  {"tokens", answer.tokens},
                                  {"finish_reason", answer.finished}};
      if (context.seed || !state_) line["seed"] = context.seed.value_or(kDefaultSeed);
      cli::out(line.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    };
    try {
      write_on(loaded, session);
    } catch (const cli::Interrupted&) {
      print();
      throw;
    }
    print();
  }

  void write_on(const LoadedModel& loaded, Session& session) const {
    const bool finished = read_prompt(loaded, session) && write(loaded, session);
    if (state_options_.saves()) {
      auto state = session.save();  // what waits goes into it
      SamplerArguments::save(asked_, state);
      state_options_.save(state);
    } else {
      out_(session.held_back());
    }
    if (!finished) throw cli::Interrupted();
  }

  std::optional<TextReader> prompt(const LoadedModel& loaded, bool continued) const {
    const auto& tokenizer = loaded.tokenizer;
    if (prompt_)
      return TextReader::from_text(tokenizer, escape_ ? unescape_prompt(*prompt_) : *prompt_,
                                   continued);
    if (!prompt_file_.empty()) return TextReader::from_file(tokenizer, prompt_file_, continued);
    if (state_) return {};
    return TextReader::from_file(tokenizer, "-", continued);
  }

  /// False if a signal asked to stop.
  bool read_prompt(const LoadedModel& loaded, Session& session) const {
    const Stopwatch watch;
    const int64_t before = session.tokens();
    auto reader = prompt(loaded, before > 0);
    if (!reader) return !cli::stop_requested();
    if (before > 0) out_(session.held_back());  // it stands before the prompt
    if (echo_) reader->set_tee(out_);
    cli::Progress progress("reading", static_cast<double>(reader->total_bytes()) / 1e6, "MB");
    const auto after = [&] { report(progress, *reader, session.tokens() - before, watch); };
    if (!text::read_prompt(loaded, session, *reader, read_options(), after)) return false;
    log::debug(rate("read", session.tokens() - before, watch.seconds()));
    if (answer_ != nullptr) answer_->prompt_tokens = session.tokens() - before;
    return true;
  }

  static void report(cli::Progress& progress, const TextReader& reader, int64_t tokens,
                     const Stopwatch& watch) {
    char note[64];
    std::snprintf(note, sizeof note, "%lld tokens, %.0f tokens/s", static_cast<long long>(tokens),
                  static_cast<double>(tokens) / watch.seconds());
    progress.set(static_cast<double>(reader.bytes_read()) / 1e6, note);
  }

  /// False if a signal asked to stop.
  bool write(const LoadedModel& loaded, Session& session) const {
    if (predict_ != 0 && !session.ready())
      throw Error(Exit::usage, "nothing to continue: the prompt is empty and there is no BOS");
    const DecodingThreads threads(loaded.model.config());
    const Stopwatch watch;
    int64_t written = 0;
    bool stopped = false, ended = false;
    while (predict_ < 0 || written < predict_) {
      stopped = cli::stop_requested();
      if (stopped) break;
      const int32_t id = session.choose();
      if (loaded.ends_text(id) && !ignore_eos_) {
        session.unchoose();  // who goes on meets the end again, unless --ignore-eos
        ended = true;
        break;
      }
      out_(session.say(id));
      ++written;
      // What nobody goes on from need not be read.
      if (written == predict_ && !state_options_.saves()) break;
      session.read({id});
    }
    if (predict_ != 0) log::debug(rate("wrote", written, watch.seconds()));
    if (answer_ != nullptr) {
      answer_->tokens = written;
      answer_->finished = ended ? "stop" : stopped ? "interrupted" : "length";
    }
    return !stopped;
  }

  /// What --json tells beside the text, in the words of --batch.
  struct Answer {
    std::string text;
    int64_t prompt_tokens = 0, tokens = 0;
    const char* finished = "interrupted";
  };

  std::function<void(std::string_view)> out_ = [](std::string_view text) { cli::out(text); };
  Answer* answer_ = nullptr;
  std::string model_, tokenizer_, prompt_file_;
  std::optional<std::string> prompt_;
  bool escape_ = false, no_bos_ = false, echo_ = false, ignore_eos_ = false;
  int64_t batch_ = 2048, predict_ = -1;
  SamplerArguments sampling_;
  SamplerOptions asked_, sampler_;  ///< sampler_: with what --ignore-eos rules out
  ScoreOptions score_;
  std::vector<std::string> more_files_;
  BatchOptions prompts_;
  cli::Processes processes_;
  commands::StateOptions state_options_;
  std::optional<io::State> state_;
};

}  // namespace

std::unique_ptr<plugin::Command> generate() {
  return std::make_unique<Generate>();
}

}  // namespace lact::text
