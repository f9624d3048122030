#pragma once
// The recall task: facts, then tokens that say nothing, then questions about the facts. A model
// whose window is shorter than the way back can answer only from what it remembers.
// Source: many-query associative recall of arXiv:2312.04927, where a fact is two tokens.

#include <lact/random.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lact::text {

struct RecallOptions {
  /// "facts": a fact is one token ("k03=5"), a question another ("k03?").
  /// "two-hop": a question is answered by two facts ("k03>m07", "m07=5"), in any order.
  /// "many-query": key and value of a fact are two tokens ("k03", "5"), a question is the key.
  std::string kind = "facts";
  std::vector<int64_t> facts{4, 8, 16, 32};  ///< in a document: one of these numbers
  int64_t keys = 32, values = 8;
  int64_t filler = 8;      ///< tokens between the most facts and the first question, at least
  int64_t questions = 32;  ///< each with its answer behind it
  int64_t train = 20000, validation = 500;  ///< documents, of validation for each number of facts
};

/// Ids of one document, and of each whether its prediction counts: answers do, of a question that
/// was not asked before.
struct RecallDocument {
  std::vector<int32_t> ids;
  std::vector<uint8_t> scored;
  uint64_t bytes = 0;  ///< of its text
};

class RecallTask {
 public:
  /// Errors   64 for more facts than keys
  explicit RecallTask(const RecallOptions& options);
  /// Tokens of a document, the same for all.
  int64_t length() const { return facts_length_ + 2 * options_.questions; }
  int64_t vocab_size() const;
  RecallDocument document(Random& random, int64_t facts) const;
  /// A SentencePiece model of words, one for each token.
  std::string tokenizer() const;

 private:
  int32_t id(const std::string& word) const;
  std::vector<std::string> facts_of(int64_t key, int64_t middle, int64_t value) const;
  std::string question(int64_t key) const;

  RecallOptions options_;
  int64_t facts_length_;
  std::vector<std::string> words_;  // sorted; ids begin after the control pieces
};

/// facts-N.safetensors for each number of facts in `facts`, then validation.safetensors (all of
/// these documents), tokenizer.model and train.safetensors. Returns the tokens of a document.
/// Errors   64, 73, 74
int64_t make_recall_set(const RecallOptions& options, const std::filesystem::path& folder,
                        uint64_t seed);

}  // namespace lact::text
