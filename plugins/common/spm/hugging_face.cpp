#include "hugging_face.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace lact::spm {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpaceSymbol = "\xe2\x96\x81";

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    for (size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) out += i <= count ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

bool is_special(const Piece& piece) {
  return piece.type == PieceType::control || piece.type == PieceType::unknown;
}

Json added_token(const Piece& piece) {
  return {{"content", piece.text}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},       {"normalized", false},  {"special", is_special(piece)}};
}

Json replace(Json pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", std::move(pattern)}, {"content", content}};
}

bool has_symbols(const ModelFile& model) {
  return std::any_of(model.pieces.begin(), model.pieces.end(),
                     [](const Piece& piece) { return piece.type == PieceType::user_defined; });
}

/// The character map, spaces in a row, the space before the text, and the symbol for spaces.
Json normalizer(const ModelFile& model) {
  Json all = Json::array();
  if (!model.charsmap.empty())
    all.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", base64(model.charsmap)}});
  if (model.remove_extra_whitespaces) {
    all.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    all.push_back(replace({{"Regex", " {2,}"}}, " "));
  }
  if (!has_symbols(model)) {
    if (model.add_dummy_prefix) all.push_back({{"type", "Prepend"}, {"prepend", kSpaceSymbol}});
    all.push_back(replace({{"String", " "}}, kSpaceSymbol));
  }
  return {{"type", "Sequence"}, {"normalizers", all}};
}

/// A text is cut at the user's symbols before it is normalised: the space before it belongs to the
/// first part alone.
Json pre_tokenizer(const ModelFile& model) {
  if (!has_symbols(model)) return nullptr;
  return {{"type", "Metaspace"},
          {"replacement", kSpaceSymbol},
          {"prepend_scheme", model.add_dummy_prefix ? "first" : "never"},
          {"split", false}};
}

Json decoder(const ModelFile& model) {
  Json all = Json::array({replace({{"String", kSpaceSymbol}}, " ")});
  if (model.byte_fallback) all.push_back({{"type", "ByteFallback"}});
  all.push_back({{"type", "Fuse"}});
  if (model.add_dummy_prefix)
    all.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", all}};
}

Json post_processor(const ModelFile& model) {
  const auto bos = model.control(model.bos_piece);
  if (!bos) return nullptr;
  const Json mark = {{"SpecialToken", {{"id", model.bos_piece}, {"type_id", 0}}}};
  const auto text = [](const char* name) {
    return Json{{"Sequence", {{"id", name}, {"type_id", 0}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({mark, text("A")})},
          {"pair", Json::array({mark, text("A"), mark, text("B")})},
          {"special_tokens",
           {{model.bos_piece,
             {{"id", model.bos_piece},
              {"ids", Json::array({*bos})},
              {"tokens", Json::array({model.bos_piece})}}}}}};
}

Json unigram(const ModelFile& model) {
  Json vocabulary = Json::array();
  for (const auto& piece : model.pieces)
    vocabulary.push_back(Json::array({piece.text, piece.score}));
  return {{"type", "Unigram"},
          {"unk_id", model.unknown},
          {"vocab", vocabulary},
          {"byte_fallback", model.byte_fallback}};
}

/// Every way in which two pieces make a third, the likeliest third first.
Json merges(const ModelFile& model) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < model.pieces.size(); ++id)
    if (model.pieces[id].type == PieceType::normal) ids.emplace(model.pieces[id].text, id);
  std::vector<std::tuple<float, size_t, size_t>> pairs;  // less the score, left, right
  for (const auto& [text, id] : ids)
    for (size_t cut = utf8_length(text); cut < text.size(); cut += utf8_length(text.substr(cut))) {
      const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
      if (left != ids.end() && right != ids.end())
        pairs.emplace_back(-model.pieces[id].score, left->second, right->second);
    }
  std::sort(pairs.begin(), pairs.end());
  Json list = Json::array();
  for (const auto& [score, left, right] : pairs)
    list.push_back(Json::array({model.pieces[left].text, model.pieces[right].text}));
  return list;
}

Json bpe(const ModelFile& model) {
  nlohmann::json vocabulary;  // Json looks through all keys for each
  for (size_t id = 0; id < model.pieces.size(); ++id) vocabulary[model.pieces[id].text] = id;
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", model.pieces[static_cast<size_t>(model.unknown)].text},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", model.byte_fallback},
          {"ignore_merges", false},
          {"vocab", vocabulary},
          {"merges", model.type == ModelType::bpe ? merges(model) : Json::array()}};
}

}  // namespace

std::string tokenizer_json(const ModelFile& model) {
  if (model.type == ModelType::word) return {};
  Json added = Json::array();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    if (!is_special(piece) && piece.type != PieceType::user_defined) continue;
    Json one{{"id", id}};
    one.update(added_token(piece));
    added.push_back(one);
  }
  const Json all{{"version", "1.0"},
                 {"truncation", nullptr},
                 {"padding", nullptr},
                 {"added_tokens", added},
                 {"normalizer", normalizer(model)},
                 {"pre_tokenizer", pre_tokenizer(model)},
                 {"post_processor", post_processor(model)},
                 {"decoder", decoder(model)},
                 {"model", model.type == ModelType::unigram ? unigram(model) : bpe(model)}};
  return all.dump() + "\n";
}

std::string tokenizer_config_json(const ModelFile& model, int64_t longest) {
  Json all{{"tokenizer_class", "PreTrainedTokenizerFast"},
           {"model_max_length", longest},
           {"clean_up_tokenization_spaces", false},
           {"unk_token", model.pieces[static_cast<size_t>(model.unknown)].text}};
  for (const auto& [key, name] : {std::pair{"bos_token", model.bos_piece},
                                  {"eos_token", model.eos_piece},
                                  {"pad_token", model.pad_piece}})
    if (model.control(name)) all[key] = name;
  return all.dump(2) + "\n";
}

}  // namespace lact::spm
