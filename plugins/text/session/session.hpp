#pragma once
// A text being continued: the model's stream, the decoder and the sampler, saved and resumed as
// one.

#include "sampler.hpp"

#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/model/model.hpp>

#include <lact/io/state.hpp>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lact::text {

/// A model with the tokenizer it belongs to.
struct LoadedModel {
  LanguageModel model;
  spm::Tokenizer tokenizer;
  std::string where;  ///< its folder, for messages
  std::string hash;   ///< io::Checkpoint::hash, "" unless asked for: it reads every byte

  /// Ids that end a text: the tokenizer's EOS, and those of config.json and generation_config.json.
  std::vector<int32_t> ends;

  /// Begins a text: the tokenizer's, else the configuration's, else none.
  std::optional<int32_t> bos() const;
  bool ends_text(int32_t id) const;
};

struct LoadOptions {
  std::filesystem::path location;   ///< model directory, run directory, or file
  std::filesystem::path tokenizer;  ///< empty: tokenizer.model beside the model
  c10::Device device = c10::kCPU;
  c10::ScalarType dtype = c10::kFloat;
  bool hash = false;
};

/// Errors   66 if model or tokenizer is missing, 65 if they are malformed or the tokenizer has more
///          pieces than the model
LoadedModel load_model(const LoadOptions& options);

/// How likely the model thought a token that came.
struct TokenScore {
  double logprob = 0;   ///< natural logarithm
  bool greedy = false;  ///< no other token was likelier
};

/// One text. Whatever the next token depends on is in here, and in the state that save() returns.
class Session {
 public:
  Session(const LoadedModel& loaded, const SamplerOptions& sampler, uint64_t seed);
  /// Goes on from a state; with `seed`, with other random numbers than if nobody had stopped.
  /// Errors   65 if the state is of another model or tokenizer (with both hashes), was computed in
  ///          another dtype, or is malformed
  Session(const LoadedModel& loaded, const SamplerOptions& sampler, const io::State& state,
          std::optional<uint64_t> seed = {});

  /// Tokens read and written.
  int64_t tokens() const { return stream_.position; }
  /// Something was read, so that there is something to predict from.
  bool ready() const { return logits_.defined(); }

  /// Reads ids (at least one) in one group.
  void read(const std::vector<int32_t>& ids);
  /// Reads one token into each of several texts of one model, wherever they stand, in one pass over
  /// its parameters. Equal to reading them one by one but for the rounding of the products.
  static void read_together(const std::vector<Session*>& sessions, const std::vector<int32_t>& ids);
  /// The same as read(), and how likely each was after all before it (the first token of a text:
  /// none).
  std::vector<std::optional<TokenScore>> score(const std::vector<int32_t>& ids);

  /// How likely each token of the model's vocabulary is to come next, natural logarithms. Only if
  /// ready().
  std::vector<double> logprobs() const;

  /// In place of SamplerOptions::temp.
  void set_temperature(double temp) { sampler_.set_temperature(temp); }
  /// Draws the next token, which is not read yet: read({id}) does that. Only if ready().
  int32_t choose();
  /// Takes back the random number that the last choose() drew: an end of text is not consumed.
  void unchoose();
  /// The bytes that a chosen token adds to the text. Those of an unfinished UTF-8 character wait.
  std::string say(int32_t id) { return decoder_.next(id); }
  /// The bytes that still wait, at the end.
  std::string held_back() { return decoder_.flush(); }

  /// Everything the next token needs. Needs LoadedModel::hash.
  io::State save() const;

 private:
  at::Tensor ids_tensor(const std::vector<int32_t>& ids) const;
  void accept(const std::vector<int32_t>& ids, const at::Tensor& last_logits);
  void restore_sampler(const io::State& state, std::optional<uint64_t> seed);

  const LoadedModel* loaded_;
  LanguageModel::Stream stream_;
  spm::Tokenizer::Stream decoder_;
  Sampler sampler_;
  Random before_;      // the generator before the last choose()
  at::Tensor logits_;  // [vocab_size] float32 on the CPU; undefined before the first token
};

}  // namespace lact::text
