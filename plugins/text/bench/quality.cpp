// lact-bench quality text: how good an existing model is.

#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/quality.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>

#include <CLI/CLI.hpp>

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
  if (row.at("test") == "position") return concat(row.at("from"), "-", row.at("to"));
  if (row.at("test") == "needle")
    return concat("needle ", row.at("length"), " @ ", number_or(row, "depth", "%g"));
  return "text";
}

class QualityText final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    app.footer(
        "Texts give loss, perplexity and accuracy, whole and by position: a model that learns from "
        "its\n"
        "context does better where it has read more. Needles are sentences hidden in the text of\n"
        "--needle, 'The secret word of KEY is ANSWER.', and asked for at the end. Words are "
        "compared by\n"
        "what the text adds to their log-probability: 'first' is how often the answer gains the "
        "most of\n"
        "--candidates words (chance: 1 of them), 'gain' by how many nats more than the others, "
        "'exact'\n"
        "how often greedy decoding writes it. LIST is N, A-B, A-B+STEP, A-B*FACTOR, or a list of "
        "these.");
    app.add_option("--model", model_, "model directory, or run directory (its latest checkpoint)")
        ->type_name("DIR")
        ->required();
    app.add_option("--tokenizer", tokenizer_,
                   "SentencePiece model (default: tokenizer.model beside the model)")
        ->type_name("FILE");
    app.add_option("FILE", options_.files,
                   "texts, or packed data (*.safetensors), whose loss is measured");
    app.add_option("--bucket", options_.bucket,
                   "positions averaged for the loss by position; 0: 1, 2-3, 4-7, 8-15, ...")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
    app.add_option("--chunk", chunks_,
                   "read in chunks of these sizes, whatever the model was trained with")
        ->type_name("LIST");
    app.add_option("-b,--batch-size", options_.group, "tokens that are read at a time")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
    app.add_option("-o,--output", format_, "form of the results")
        ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}));
    declare_needles(app);
  }

  void run(cli::Context& context) override {
    complete(context);
    LoadOptions loading{model_, tokenizer_, context.device,
                        ops::resolve_dtype(context.dtype, context.device)};
    auto loaded = load_model(loading);
    cli::Table table(context.json ? "json" : format_, {{"test", 20},
                                                       {"file", 16},
                                                       {"chunk", 7, true},
                                                       {"tokens", 9, true},
                                                       {"loss", 8, true},
                                                       {"perplexity", 10, true},
                                                       {"accuracy", 8, true},
                                                       {"first", 7, true},
                                                       {"gain", 6, true},
                                                       {"rank", 5, true},
                                                       {"exact", 7, true}});
    evaluate_quality(loaded, options_, [&](const QualityRow& row) {
      table.row(
          row, {name_of(row),
                std::filesystem::path(row.at("file").get<std::string>()).filename().string(),
                row.at("chunk_size").dump(), number_or(row, "tokens", "%.0f"),
                number_or(row, "loss", "%.4f"), number_or(row, "perplexity", "%.2f"),
                number_or(row, "accuracy", "%.2f %%", 100), number_or(row, "first", "%.1f %%", 100),
                number_or(row, "gain", "%.3f"), number_or(row, "mean_rank", "%.2f"),
                number_or(row, "exact", "%.1f %%", 100)});
    });
    table.finish();
  }

 private:
  void declare_needles(CLI::App& app) {
    const char* group = "Needles";
    app.add_option("--needle", options_.haystack,
                   "text or packed data to hide needles in; without it there are none")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--needle-length", lengths_,
                   "tokens of text, needle and question together (default: 1024)")
        ->type_name("LIST")
        ->group(group);
    app.add_option("--needle-depth", depths_,
                   "where the needle is, 0 (the beginning) to 1 (the end) (default: 0-1+0.25)")
        ->type_name("LIST")
        ->group(group);
    app.add_option("--needles", options_.needles.trials, "needles at each length and depth")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
        ->group(group);
    app.add_option("--candidates", options_.needles.candidates,
                   "words that the answer is ranked among, itself included")
        ->check(CLI::Range(int64_t{2}, int64_t{1000}))
        ->group(group);
  }

  void complete(const cli::Context& context) {
    if (options_.files.empty() && options_.haystack.empty())
      throw Error(Exit::usage, "nothing to evaluate: give a FILE, or --needle");
    options_.chunks = cli::parse_numbers(chunks_, "--chunk", {});
    options_.lengths = cli::parse_numbers(lengths_, "--needle-length", options_.lengths);
    options_.depths = cli::parse_reals(depths_, "--needle-depth", options_.depths);
    if (std::count(options_.chunks.begin(), options_.chunks.end(), 0) > 0)
      throw Error(Exit::usage, "--chunk: a chunk has at least 1 token");
    for (const double depth : options_.depths)
      if (depth > 1) throw Error(Exit::usage, "--needle-depth ", depth, ": expected 0 to 1");
    options_.needles.seed = context.seed.value_or(1);
    options_.needles.group = options_.group;
  }

  std::string model_, tokenizer_, format_ = "md";
  std::vector<std::string> chunks_, lengths_, depths_;
  QualityOptions options_;
};

}  // namespace

std::unique_ptr<plugin::Command> quality_text() {
  return std::make_unique<QualityText>();
}

}  // namespace lact::text
