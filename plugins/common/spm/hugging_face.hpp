#pragma once
// A SentencePiece model as Hugging Face's tokenizers and transformers read it.

#include "model_file.hpp"

#include <cstdint>
#include <string>

namespace lact::spm {

/// tokenizer.json, with BOS before every text if the model has one; "" for models of whole words,
/// which that format does not know. Ids are SentencePiece's but for texts that hold the name of a
/// control or byte piece, and, of models with symbols of the user, that begin with a space.
/// Source: the format of https://github.com/huggingface/tokenizers; merges follow from the pieces.
std::string tokenizer_json(const ModelFile& model);

/// tokenizer_config.json: names the class that reads tokenizer.json, and the special pieces.
/// `longest`: tokens of the longest text.
std::string tokenizer_config_json(const ModelFile& model, int64_t longest);

}  // namespace lact::spm
