// What the modality text reads: SentencePiece models, config.json, JSON lines, compressed
// documents, packed tokens.

#include "targets.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/input/documents.hpp>
#include <plugins/text/model/config.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <ATen/ops/arange.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>

#include <cstring>

namespace lact::fuzz {
namespace {

// --- SentencePiece -------------------------------------------------------------------------------

std::string varint(size_t n) {
  std::string out;
  for (; n >= 128; n >>= 7) out += static_cast<char>(n | 128);
  return out + static_cast<char>(n);
}

std::string field(size_t number, const std::string& content) {
  return varint(number << 3 | 2) + varint(content.size()) + content;
}

std::string piece(const std::string& text, size_t type, float score) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return field(1, field(1, text) + "\x15" + bits + "\x18" + varint(type));
}

/// One rule, "A" to "a": the index that Darts-clone would build.
std::string charsmap() {
  uint32_t units[256] = {};
  units[0] = 1u << 10;                                      // the root's children lie at 1 ^ byte
  units[1 ^ 'A'] = 'A' | 1u << 8 | (uint32_t{0x80} << 10);  // a rule ends here
  units[1 ^ 'A' ^ 0x80] = 1u << 31;                         // its replacement is at 0
  const uint32_t bytes = sizeof units;
  return std::string(reinterpret_cast<const char*>(&bytes), 4) +
         std::string(reinterpret_cast<const char*>(units), sizeof units) + std::string("a\0", 2);
}

std::string spm_model(size_t type, bool bytes, bool rules) {
  std::string model = piece("<unk>", 2, 0) + piece("<s>", 3, 0) + piece("</s>", 3, 0);
  if (bytes)
    for (int i = 0; i < 256; ++i) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", i);
      model += piece(name, 6, 0);
    }
  model += piece("\u2581the", 1, -1) + piece("\u2581", 1, -2) + piece("t", 1, -3) +
           piece("th", 1, -2.5f) + piece("e", 1, -3) + piece("\u00e9", 1, -4) +
           piece("<user>", 4, 0) + piece("a", 1, -3);
  std::string trainer = "\x18" + varint(type);
  if (bytes) trainer += "\x98\x02\x01";
  model += field(2, trainer);
  std::string normalizer("\x18\x01\x20\x00\x28\x01", 6);
  if (rules) normalizer = field(2, charsmap()) + normalizer;
  return model + field(3, normalizer);
}

std::vector<std::string> spm_seeds() {
  return {spm_model(1, false, false), spm_model(1, true, false),  spm_model(2, true, true),
          spm_model(1, false, true),  spm_model(3, false, false), spm_model(4, true, false)};
}

void spm(const std::string& bytes) {
  const auto file = scratch() / "m.model";
  put(file, bytes);
  const auto tokenizer = spm::Tokenizer::open(file);
  for (const std::string& text :
       {std::string("the the ét <user>  A\n\xff\0 \u2581 </s> tA", 31), std::string(300, 't')}) {
    const auto back = tokenizer.decode(tokenizer.encode(text));
    if (tokenizer.exact() && back != text)
      throw std::logic_error("the text does not come back: " + back);
    tokenizer.lost_bytes(text);
    for (const int id : tokenizer.encode_normalized(text)) use(tokenizer.piece(id).data(), 1);
  }
  for (int id = 0; id < tokenizer.vocab_size(); ++id) use(tokenizer.piece(id).data(), 1);
}

// --- JSON ----------------------------------------------------------------------------------------

std::vector<std::string> config_seeds() {
  text::Config wide = text::Config::preset("tiny");
  wide.window_size.reset();
  return {text::Config::preset("tiny").to_json().dump(1), wide.to_json().dump(),
          R"({"hidden_size":32,"num_attn_heads":4,"num_lact_heads":2,"lr_dim":1})"};
}

void config(const std::string& bytes) {
  const auto config = text::Config::from_json(io::parse_json(bytes, "config.json"), "config.json");
  if (config.fast_hidden() < 1 || config.mlp_hidden() < 1)
    throw std::logic_error("a width below 1");
  use(config.to_json().dump().data(), 1);
}

/// All documents of a file of this name.
void documents(const std::string& name, const std::string& separator, const std::string& bytes) {
  const auto file = scratch() / name;
  put(file, bytes);
  text::DocumentOptions options;
  options.inputs = {file.string()};
  options.separator = separator;
  text::Documents all(options);
  text::Documents::Part part;
  for (uint64_t total = 0; all.next(part);) {
    use(part.bytes.data(), part.bytes.size());
    total += part.bytes.size();
    if (total > uint64_t{64} << 20)
      return;  // a bomb: unpacked in constant memory, as long as it is
  }
}

std::vector<std::string> json_seeds() {
  return {"{\"text\": \"karo shi\", \"n\": 1}\n\n{\"text\": \"\\u00e9\\n\", \"m\": [1, {}]}\r\n",
          "{\"text\":\"\"}"};
}

void json_lines(const std::string& bytes) {
  documents("d.jsonl", "", bytes);
}

// --- compressed ----------------------------------------------------------------------------------

std::string some_text() {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "karo shi " + std::to_string(i * i) + "\n";
  return text;
}

std::string gzip(const std::string& text) {
  std::string out(text.size() + 200, '\0');
  z_stream stream{};
  ::deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  ::deflateEnd(&stream);
  return out.substr(0, out.size() - stream.avail_out);
}

std::vector<std::string> gzip_seeds() {
  return {gzip(some_text()), gzip("a") + gzip("b")};
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  auto* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::vector<std::string> zstd_seeds() {
  return {zstd(some_text()), zstd("a") + zstd("b")};
}

void gzip_file(const std::string& bytes) {
  documents("d.txt.gz", "", bytes);
}
void zstd_file(const std::string& bytes) {
  documents("d.txt.zst", "\\n", bytes);
}

// --- packed --------------------------------------------------------------------------------------

/// Without checksums.
std::string of_others() {
  const auto file = scratch() / "others.safetensors";
  io::write_safetensors(file,
                        {{"tokens", at::arange(5).to(at::kUInt16)},
                         {"documents", at::arange(0, 6, 5).to(at::kUInt64)}},
                        {{"lact.kind", "tokens"},
                         {"lact.version", "1"},
                         {"vocab_size", "100"},
                         {"tokenizer", "abc"},
                         {"bytes", "12"}});
  return get(file);
}

std::vector<std::string> packed_seeds() {
  static const auto seed = [] {
    const auto file = scratch() / "t.safetensors";
    text::TokenWriter writer(file, 100, "abc", "train");
    for (int d = 0; d < 4; ++d) {
      writer.begin_document();
      writer.append(std::vector<int32_t>(static_cast<size_t>(d), d));
    }
    writer.seal();
    writer.commit();
    // Less of the blanks that are kept free for the header.
    auto bytes = get(file);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const size_t end = bytes.find_last_not_of(' ', 7 + length) + 1;
    const uint64_t kept = (end - 8 + 7) / 8 * 8;
    bytes.erase(8 + kept, length - kept);
    std::memcpy(bytes.data(), &kept, sizeof kept);
    return bytes;
  }();
  return {seed, of_others()};
}

void packed(const std::string& bytes) {
  const auto file = scratch() / "t.safetensors";
  put(file, bytes);
  const auto tokens = text::PackedTokens::open(file);
  const auto ids = tokens.ids(0, tokens.tokens());
  const auto numbers = tokens.document_numbers(0, tokens.tokens());
  use(ids.const_data_ptr(), ids.nbytes());
  use(numbers.const_data_ptr(), numbers.nbytes());
}

}  // namespace

std::vector<Target> text_targets() {
  const std::vector<Exit> data = {Exit::data};
  std::vector<std::string> keys;
  for (const auto& [key, kind] : text::Config::keys()) keys.push_back(key);
  return {{"sentencepiece", spm_seeds, spm, data, {"<0x0A>", "\xe2\x96\x81", "<unk>"}},
          {"config-json", config_seeds, config, {Exit::data, Exit::config}, keys},
          {"json-lines", json_seeds, json_lines, data, {"\"text\"", "\\u00e9", "\\ud800"}},
          {"gzip", gzip_seeds, gzip_file, data, {"\x1f\x8b\x08"}},
          {"zstd", zstd_seeds, zstd_file, data, {"\x28\xb5\x2f\xfd"}},
          {"packed", packed_seeds, packed, data, {"tokens", "documents", "padding", "U16", "U64"}}};
}

}  // namespace lact::fuzz
