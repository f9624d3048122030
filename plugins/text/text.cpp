// The text modality: language models over SentencePiece tokens.

#include "commands.hpp"
#include "golden.hpp"
#include "task.hpp"

#include <array>

namespace lact::text {
namespace {

using plugin::Tool;

struct Entry {
  Tool tool;
  plugin::Verb verb;
  std::unique_ptr<plugin::Command> (*make)();
};

const std::array kEntries{
    Entry{Tool::tokenize, {"train", "learn a tokenizer from text"}, tokenize_train},
    Entry{Tool::tokenize, {"encode", "text to packed token data, or to ids"}, tokenize_encode},
    Entry{Tool::tokenize, {"decode", "ids or packed token data back to text"}, tokenize_decode},
    Entry{Tool::tokenize, {"info", "what a tokenizer or packed token data holds"}, tokenize_info},
    Entry{Tool::generate, {"", "continue a text, or say how likely one is"}, generate},
    Entry{Tool::bench,
          {"", "how fast a model reads and writes, at any depth of context"},
          bench_text},
    Entry{Tool::bench, {"quality", "loss by position and needles found of a model"}, quality_text},
};

class Text final : public plugin::Modality {
 public:
  std::vector<plugin::Verb> verbs(Tool tool) const override {
    std::vector<plugin::Verb> found;
    for (const auto& entry : kEntries)
      if (entry.tool == tool) found.push_back(entry.verb);
    return found;
  }
  std::unique_ptr<plugin::Command> command(Tool tool, std::string_view verb) override {
    for (const auto& entry : kEntries)
      if (entry.tool == tool && entry.verb.name == verb) return entry.make();
    return nullptr;
  }
  std::unique_ptr<train::Task> task() override { return make_task(); }
  std::vector<plugin::GoldenKind> verifiers() override { return golden_kinds(); }
  std::vector<plugin::Check> checks() override { return model_checks(); }
};

}  // namespace
}  // namespace lact::text

LACT_PLUGIN(lact::text::Text, "text", "language models over SentencePiece tokens")
