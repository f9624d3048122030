// lact-generate text: reads a prompt of any length, writes on, and keeps what it has read.

#include "batch.hpp"

#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/score.hpp>
#include <plugins/text/session/decoding_threads.hpp>
#include <plugins/text/session/prompt.hpp>
#include <plugins/text/session/session.hpp>

#include <lact/cli/inspect_state.hpp>
#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>

namespace lact::text {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::string rate(const char* what, int64_t tokens, double seconds) {
  char text[96];
  std::snprintf(text, sizeof text, "%s %lld tokens in %.2f s, %.1f tokens/s", what,
                static_cast<long long>(tokens), seconds,
                static_cast<double>(tokens) / std::max(seconds, 1e-9));
  return text;
}

class Generate final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    declare_input(app);
    declare_sampling(app);
    declare_state(app);
    declare_scoring(app);
  }

  void run(cli::Context& context) override {
    if (!inspect_.empty()) return cli::out(cli::inspect_state(inspect_, context.json));
    check_options();
    score_.files.insert(score_.files.end(), more_files_.begin(), more_files_.end());
    if (!state_file_.empty()) state_ = io::load_state(state_file_);
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
    write_on(loaded, session);
  }

 private:
  // --- options ---------------------------------------------------------------------------------

  void declare_input(CLI::App& app) {
    const char* group = "Input";
    app.add_option("--model", model_, "model directory, or run directory (its latest checkpoint)")
        ->type_name("DIR")
        ->group(group);
    app.add_option("--tokenizer", tokenizer_,
                   "SentencePiece model (default: tokenizer.model beside the model)")
        ->type_name("FILE")
        ->group(group);
    app.add_option("-p,--prompt", prompt_, "text to continue")->type_name("TEXT")->group(group);
    app.add_option("-f,--file,--prompt-file", prompt_file_,
                   "file to continue, of any length; - is stdin, which is also read without a "
                   "prompt or a state, unless it is a terminal")
        ->type_name("FILE")
        ->group(group);
    app.add_option(
           "--batch", prompts_.file,
           "continue many prompts, each as if alone: lines of text, or JSONL of {\"prompt\": "
           "TEXT}, also \"id\", \"seed\"; - is stdin. Prints a line of JSON for each")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--parallel", prompts_.parallel,
                   "prompts of --batch that are continued at a time")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
        ->group(group);
    app.add_flag("-e,--escape", escape_,
                 "in --prompt and in lines of --batch, \\n, \\t, \\r, \\\\ mean what they do in C")
        ->group(group);
    app.add_flag("--no-bos", no_bos_, "do not begin a text with the BOS token")->group(group);
    app.add_option("-b,--batch-size", batch_, "tokens of the prompt that are read at a time")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
        ->group(group);
    app.add_option("-n,--predict,--n-predict", predict_,
                   "tokens to write; 0: only read; -1: until the end of the text, or forever")
        ->check(CLI::Range(int64_t{-1}, std::numeric_limits<int64_t>::max()))
        ->type_name("N")
        ->group(group);
    app.add_flag("--echo", echo_, "print the prompt too, before what is written")->group(group);
  }

  void declare_sampling(CLI::App& app) {
    const char* group = "Sampling, in this order";
    const auto part = CLI::Range(0.0, 1.0);
    app.add_option("-l,--logit-bias", biases_,
                   "add to a token's logit: ID+BIAS or ID-BIAS; ID-inf rules it out")
        ->type_name("ID(+|-)BIAS")
        ->group(group);
    app.add_flag("--ignore-eos", ignore_eos_, "go on after the end of the text")->group(group);
    app.add_option("--repeat-penalty", sampler_.repeat_penalty,
                   "divide the logits of the last tokens; 1: off")
        ->check(CLI::Range(1e-3, 1e3))
        ->group(group);
    app.add_option("--repeat-last-n", sampler_.repeat_last_n,
                   "tokens that the penalty looks back; 0: off, -1: all")
        ->check(CLI::Range(int64_t{-1}, int64_t{1} << 20))
        ->group(group);
    app.add_option("--top-k", sampler_.top_k, "keep the K likeliest tokens; 0: all")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 31))
        ->type_name("K")
        ->group(group);
    app.add_option("--typical", sampler_.typical,
                   "keep tokens of typical surprise that hold P together; 1: all")
        ->check(part)
        ->type_name("P")
        ->group(group);
    app.add_option("--top-p", sampler_.top_p, "keep the likeliest that hold P together; 1: all")
        ->check(part)
        ->type_name("P")
        ->group(group);
    app.add_option("--min-p", sampler_.min_p,
                   "keep tokens with P times the likeliest one's probability; 0: all")
        ->check(part)
        ->type_name("P")
        ->group(group);
    app.add_option("--temp", sampler_.temp, "temperature; 0: always the likeliest token")
        ->check(CLI::Range(0.0, 1e6))
        ->type_name("T")
        ->group(group);
  }

  void declare_state(CLI::App& app) {
    const char* group = "States";
    app.add_option("--state", state_file_,
                   "go on from this state, as if nobody had stopped; --prompt or --seed branch off")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--save-state", save_state_, "write all that the next token needs, at the end")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--inspect-state", inspect_, "print what a state holds, and end")
        ->type_name("FILE")
        ->group(group);
  }

  void declare_scoring(CLI::App& app) {
    const char* group = "Scoring";
    app.add_option("--score", score_.files,
                   "how likely a text is: loss, perplexity, loss by position; - is stdin. Packed "
                   "data (*.safetensors): by document. Pairs (*.jsonl): a line of JSON for each. "
                   "Several files: a table")
        ->type_name("FILE")
        ->group(group);
    app.add_option("FILE", more_files_, "further files to score, as --score *.txt gives them");
    app.add_flag("--pairs", score_.pairs,
                 "the file to score is JSONL of {\"context\": TEXT, \"continuation\": TEXT}")
        ->group(group);
    app.add_flag("--per-token", score_.per_token,
                 "CSV of every token: position, id, piece, log-probability")
        ->group(group);
    app.add_flag("--by-position", score_.by_position, "CSV of the loss by position")->group(group);
    app.add_option("--bucket", score_.bucket,
                   "positions averaged for the loss by position; 0: 1, 2-3, 4-7, 8-15, ...")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
        ->group(group);
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
    if (batch && (prompted || !score_.files.empty() || !save_state_.empty()))
      throw Error(Exit::usage, "--batch takes no other prompt, scores nothing and saves no state");
    if (!score_.files.empty() && (prompted || !save_state_.empty()))
      throw Error(Exit::usage, "--score takes no prompt and saves no state");
    if (score_.files.empty() && (score_.per_token || score_.by_position || score_.pairs))
      throw Error(Exit::usage, "--per-token, --by-position and --pairs need --score");
    if (score_.per_token && score_.by_position)
      throw Error(Exit::usage, "--per-token and --by-position exclude each other");
    check_folder();
    if (score_.files.empty() && !prompted && !batch && state_file_.empty() &&
        ::isatty(STDIN_FILENO) == 1)
      throw Error(Exit::usage, "nothing to continue: give --prompt, --prompt-file or --state");
  }

  /// Better said now than after a book was read.
  void check_folder() const {
    auto folder = std::filesystem::path(save_state_).parent_path();
    if (folder.empty()) folder = ".";
    if (!save_state_.empty() && ::access(folder.c_str(), W_OK | X_OK) != 0)
      throw Error(Exit::cannot_create, save_state_, ": ", std::strerror(errno));
  }

  // --- making ready ----------------------------------------------------------------------------

  at::ScalarType dtype(const cli::Context& context) const {
    // A state goes on in the type it was computed in.
    const bool follow = state_ && context.dtype == "auto";
    if (!follow) return ops::resolve_dtype(context.dtype, context.device);
    const auto name = state_dtype(*state_, state_file_);
    for (const auto type : {at::kFloat, at::kBFloat16})
      if (name == ops::dtype_name(type)) return type;
    throw Error(Exit::data, state_file_, ": computed in ", name, ", which this program cannot");
  }

  LoadedModel load(const cli::Context& context) const {
    const Stopwatch watch;
    LoadOptions options{model_, tokenizer_, context.device, dtype(context),
                        state_.has_value() || !save_state_.empty()};
    auto loaded = load_model(options);
    log::debug(loaded.where, ": loaded in ", watch.seconds(), " s, ",
               ops::dtype_name(options.dtype), " on ", context.device.str());
    return loaded;
  }

  void complete_sampler(const LoadedModel& loaded) {
    for (const auto& text : biases_) sampler_.logit_bias.push_back(parse_logit_bias(text));
    if (const auto eos = loaded.eos(); eos && ignore_eos_)
      sampler_.logit_bias.emplace_back(*eos, -std::numeric_limits<double>::infinity());
  }

  Session make_session(const LoadedModel& loaded, std::optional<uint64_t> given) const {
    if (state_) return {loaded, sampler_, *state_, state_file_, given};
    const uint64_t seed = given.value_or(std::random_device()());
    log::debug("seed ", seed);
    return {loaded, sampler_, seed};
  }

  // --- the work --------------------------------------------------------------------------------

  ReadOptions read_options() const { return {batch_, !no_bos_}; }

  void write_batch(const LoadedModel& loaded, const cli::Context& context) {
    prompts_.predict = predict_;
    prompts_.escape = escape_;
    prompts_.echo = echo_;
    prompts_.ignore_eos = ignore_eos_;
    prompts_.read = read_options();
    generate_batch(loaded, prompts_, [&](std::optional<uint64_t> seed) {
      return make_session(loaded, seed ? seed : context.seed);
    });
  }

  void write_on(const LoadedModel& loaded, Session& session) const {
    const bool finished = read_prompt(loaded, session) && write(loaded, session);
    if (!save_state_.empty())
      io::save_state(save_state_, session.save());  // what waits goes into it
    else
      cli::out(session.held_back());
    if (!finished) throw cli::Interrupted();
    if (::isatty(STDOUT_FILENO) == 1 && predict_ != 0) cli::out("\n");
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
    if (before > 0) cli::out(session.held_back());  // it stands before the prompt
    if (echo_) reader->set_tee([](std::string_view text) { cli::out(text); });
    cli::Progress progress("reading", static_cast<double>(reader->total_bytes()) / 1e6, "MB");
    const auto after = [&] { report(progress, *reader, session.tokens() - before, watch); };
    if (!text::read_prompt(loaded, session, *reader, read_options(), after)) return false;
    log::debug(rate("read", session.tokens() - before, watch.seconds()));
    return true;
  }

  static void report(cli::Progress& progress, const TextReader& reader, int64_t tokens,
                     const Stopwatch& watch) {
    char note[64];
    std::snprintf(note, sizeof note, "%lld tokens, %.0f tokens/s", static_cast<long long>(tokens),
                  static_cast<double>(tokens) / watch.seconds());
    progress.set(static_cast<double>(reader.bytes()) / 1e6, note);
  }

  /// False if a signal asked to stop.
  bool write(const LoadedModel& loaded, Session& session) const {
    if (predict_ != 0 && !session.ready())
      throw Error(Exit::usage, "nothing to continue: the prompt is empty and there is no BOS");
    const DecodingThreads threads(loaded.model.config());
    const Stopwatch watch;
    const auto eos = loaded.eos();
    int64_t written = 0;
    bool stopped = false;
    while (predict_ < 0 || written < predict_) {
      stopped = cli::stop_requested();
      if (stopped) break;
      const int32_t id = session.choose();
      if (eos && id == *eos && !ignore_eos_) {
        session.unchoose();  // who goes on meets the end again, unless --ignore-eos
        break;
      }
      cli::out(session.say(id));
      ++written;
      // What nobody goes on from need not be read.
      if (written == predict_ && save_state_.empty()) break;
      session.read({id});
    }
    if (predict_ != 0) log::debug(rate("wrote", written, watch.seconds()));
    return !stopped;
  }

  std::string model_, tokenizer_, prompt_file_, state_file_, save_state_, inspect_;
  std::optional<std::string> prompt_;
  bool escape_ = false, no_bos_ = false, echo_ = false, ignore_eos_ = false;
  int64_t batch_ = 2048, predict_ = -1;
  SamplerOptions sampler_;
  std::vector<std::string> biases_;
  ScoreOptions score_;
  std::vector<std::string> more_files_;
  BatchOptions prompts_;
  std::optional<io::State> state_;
};

}  // namespace

std::unique_ptr<plugin::Command> generate() {
  return std::make_unique<Generate>();
}

}  // namespace lact::text
