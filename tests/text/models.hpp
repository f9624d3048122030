#pragma once
// Small SentencePiece models for the tests, trained by SentencePiece itself, and texts to try.

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace lact::test {

/// Serialized model, trained on an invented language with `changes` to the trainer's arguments.
std::string train_model(const std::map<std::string, std::string>& changes = {});

/// Text of the same language, about `bytes` long.
std::string invented_text(uint64_t seed, size_t bytes);

/// Anything: words, runs of spaces, tabs, NULs, control symbols, U+2581, broken UTF-8.
std::string hostile_text(uint64_t seed, size_t bytes);

/// The text as gzip writes it.
std::string gzip(const std::string& text);

}  // namespace lact::test
