// The text modality: language models over SentencePiece tokens.

#include "commands.hpp"

#include <plugins/text/train/task.hpp>
#include <plugins/text/verify/golden.hpp>

#include <vector>

namespace lact::text {
namespace {

using plugin::Tool;

std::vector<plugin::Listed> list() {
  return {
      {Tool::tokenize, {"train", "train a tokenizer on text"}, tokenize_train},
      {Tool::tokenize, {"encode", "convert text to packed tokens, or to ids"}, tokenize_encode},
      {Tool::tokenize, {"decode", "convert ids or packed tokens back to text"}, tokenize_decode},
      {Tool::tokenize, {"info", "show what a tokenizer or packed tokens hold"}, tokenize_info},
      {Tool::tokenize, {"recall", "make a test of memory: facts and questions"}, tokenize_recall},
      {Tool::generate, {"", "continue a text, or measure how likely one is"}, generate},
      {Tool::bench,
       {"", "measure how fast a model reads and generates, at any depth of context"},
       bench_text},
      {Tool::bench,
       {"quality", "measure loss by position, and how often a model finds needles"},
       quality_text},
      {Tool::bench, {"sweep", "train and evaluate the models of an experiment"}, sweep_text},
  };
}

class Text final : public plugin::ListedModality {
 public:
  Text() : ListedModality(list()) {}
  std::unique_ptr<train::Task> task() override { return make_task(); }
  std::vector<plugin::GoldenKind> verifiers() override { return golden_kinds(); }
  std::vector<plugin::Check> checks() override { return model_checks(); }
};

}  // namespace
}  // namespace lact::text

LACT_PLUGIN(lact::text::Text, "text", "language models over SentencePiece tokens")
