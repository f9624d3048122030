// lact-bench quality text: how good an existing model is.

#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/quality.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>

#include <algorithm>
#include <set>

namespace lact::text {
namespace {

using cli::number_text;

std::string number_or(const QualityRow& row, const char* key, const char* form, double factor = 1) {
  return row.at(key).is_null() ? "" : number_text(factor * row.at(key).get<double>(), form);
}

/// "text", "256-511", "needle 1024 @ 0.5"
std::string name_of(const QualityRow& row) {
  if (row.at("test") == "position") return row.at("from").dump() + "-" + row.at("to").dump();
  if (row.at("test") == "needle")
    return "needle " + row.at("length").dump() + " @ " + number_or(row, "depth", "%g");
  return "text";
}

/// "none", or "none*": not what it was trained with.
std::string learned(const QualityRow& row) {
  const auto now = row.at("learn").get<std::string>();
  return now == row.at("trained_learn").get<std::string>() || now == "absent" ? now : now + "*";
}

class QualityText final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Texts give loss, perplexity and accuracy, whole and by position: a model that uses its\n"
        "context does better the more it has read. Needles are sentences hidden in the text of\n"
        "--needle, 'The secret word of KEY is ANSWER.'; a question at the end asks for the\n"
        "answer. Words are compared by what the text adds to their log-probability: 'first' is\n"
        "how often the answer gains most among --candidates words (chance: 1 in that many),\n"
        "'gain' by how many nats more than the others, 'exact' how often greedy decoding writes\n"
        "it. LIST is N, A-B, A-B+STEP, A-B*FACTOR, or a list of these.\n"
        "'strength' is how much of what the fast weights give the first chunk of a text changes.\n"
        "A model that learned in training and is scored with --learn none misses what it relied\n"
        "on: the gain of learning is the difference to a model trained with --learn none.");
    options.add("--model", model_, "model directory, or run directory (its newest checkpoint)")
        .value("DIR")
        .required();
    options
        .add("--tokenizer", tokenizer_,
             "SentencePiece model (default: tokenizer.model beside the model)")
        .value("FILE");
    options.add("FILE", options_.files, "texts, or packed data (*.safetensors), to measure");
    options
        .add("--bucket", options_.bucket,
             "positions that are averaged for the loss by position; 0: 1, 2-3, 4-7, 8-15, ...")
        .range(int64_t{0}, int64_t{1} << 40);
    options.add("--chunk", chunks_, "tokens per chunk, instead of those the model was trained with")
        .value("LIST");
    options
        .add("--learn", learn_,
             "matrices that an update changes, instead of those the model was trained with; none: "
             "score with learning off")
        .words({"all", "last", "none"});
    options.add("-b,--batch-size", options_.group, "tokens that are read at a time")
        .range(1, 1 << 20);
    cli::declare_form(options, format_);
    declare_needles(options.group("Needles"));
    processes_.declare(options);
  }

  void run(cli::Context& context) override {
    processes_.run(context, [&] { measure(context); });
  }

 private:
  void measure(const cli::Context& context) {
    complete(context);
    LoadOptions loading{model_, tokenizer_, context.device,
                        ops::resolve_dtype(context.dtype, context.device), processes_.size() > 1};
    auto loaded = load_model(loading);
    processes_.require_same(concat(loaded.hash, ", ", ops::dtype_name(loading.dtype)), "models");
    const auto trained = loaded.model.config().learn;
    if (!learn_.empty()) loaded.model.set_learn(learn_);
    cli::Table table(context.json ? "json" : format_, {{"test", 20},
                                                       {"file", 16},
                                                       {"chunk", 7, true},
                                                       {"learn", 7},
                                                       {"tokens", 9, true},
                                                       {"loss", 8, true},
                                                       {"perplexity", 10, true},
                                                       {"accuracy", 8, true},
                                                       {"first", 7, true},
                                                       {"gain", 6, true},
                                                       {"rank", 5, true},
                                                       {"exact", 7, true},
                                                       {"strength", 8, true}});
    evaluate_quality(loaded, options_, processes_, [&](const QualityRow& measured) {
      auto row = measured;
      row["trained_learn"] = trained;
      table.row(
          row, {name_of(row),
                std::filesystem::path(row.at("file").get<std::string>()).filename().string(),
                row.at("chunk_size").dump(), learned(row), number_or(row, "tokens", "%.0f"),
                number_or(row, "loss", "%.4f"), number_or(row, "perplexity", "%.2f"),
                number_or(row, "accuracy", "%.2f %%", 100), number_or(row, "first", "%.1f %%", 100),
                number_or(row, "gain", "%.3f"), number_or(row, "mean_rank", "%.2f"),
                number_or(row, "exact", "%.1f %%", 100), number_or(row, "write_strength", "%.3g")});
    });
    if (processes_.chief()) table.finish();
  }

  void declare_needles(cli::Options options) {
    options.add("--needle", options_.haystack, "text or packed data to hide needles in")
        .value("FILE");
    options.add("--needle-length", lengths_, "tokens of text, needle and question together")
        .value("LIST")
        .initially("1024");
    options.add("--needle-depth", depths_, "position of the needle, 0 (beginning) to 1 (end)")
        .value("LIST")
        .initially("0-1+0.25");
    options.add("--needles", options_.needles.trials, "needles for each length and depth")
        .range(1, 1 << 20);
    options
        .add("--candidates", options_.needles.candidates,
             "words that the answer is ranked among, itself included")
        .range(2, 1000);
  }

  void complete(const cli::Context& context) {
    if (options_.files.empty() && options_.haystack.empty())
      throw Error(Exit::usage, "nothing to evaluate: give a FILE, or --needle");
    for (const auto& file : options_.files) processes_.require_file(file, "FILE");
    processes_.require_file(options_.haystack, "--needle");
    options_.chunks = cli::parse_numbers(chunks_, "--chunk", {});
    options_.lengths = cli::parse_numbers(lengths_, "--needle-length", options_.lengths);
    options_.depths = cli::parse_reals(depths_, "--needle-depth", options_.depths);
    if (std::count(options_.chunks.begin(), options_.chunks.end(), 0) > 0)
      throw Error(Exit::usage, "--chunk: a chunk has at least 1 token");
    for (const double depth : options_.depths)
      if (depth > 1) throw Error(Exit::usage, "--needle-depth ", depth, ": expected 0 to 1");
    options_.needles.seed = context.seed.value_or(kDefaultSeed);
    options_.needles.group = options_.group;
  }

  std::string model_, tokenizer_, learn_, format_ = "md";
  std::vector<std::string> chunks_, lengths_, depths_;
  QualityOptions options_;
  cli::Processes processes_;
};

}  // namespace

std::unique_ptr<plugin::Command> quality_text() {
  return std::make_unique<QualityText>();
}

}  // namespace lact::text
