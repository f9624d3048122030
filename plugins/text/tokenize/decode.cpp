// lact-tokenize text decode: ids as text, or packed token data, back to the bytes they came from.

#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/input/documents.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/error.hpp>

#include <charconv>
#include <filesystem>

namespace lact::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = size_t{64} << 10;
constexpr int64_t kBlockTokens = int64_t{1} << 16;

/// Text of one document after another, written in blocks.
class Writer {
 public:
  Writer(const spm::Tokenizer& tokenizer, std::string separator)
      : tokenizer_(tokenizer), stream_(tokenizer), separator_(std::move(separator)) {}
  void id(int64_t id) {
    if (id < INT32_MIN || id > INT32_MAX) id = -1;
    text_ += stream_.next(static_cast<int32_t>(id));
    if (text_.size() >= kBlockBytes) flush();
  }
  void end_document() {
    text_ += stream_.flush() + separator_;
    stream_ = spm::Tokenizer::Stream(tokenizer_);
  }
  void flush() {
    cli::out(text_);
    text_.clear();
  }

 private:
  const spm::Tokenizer& tokenizer_;
  spm::Tokenizer::Stream stream_;
  std::string separator_, text_;
};

class Decode final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add("FILE", input_,
             "ids as text, a document per line (- or nothing: stdin), or packed data "
             "(*.safetensors)")
        .value("FILE");
    options
        .add("-m,--model", model_,
             "SentencePiece model (default for packed data: tokenizer.model beside it)")
        .value("FILE");
    options.add("--document", document_, "decode only this document of packed data, counted from 0")
        .at_least(0)
        .value("N");
    options
        .add("--document-separator", separator_,
             "text to write after each document, with \\n, \\t, \\0, \\xHH")
        .value("TEXT");
  }

  void run(cli::Context&) override {
    const bool packed = fs::path(input_).extension() == ".safetensors";
    if (model_.empty() && packed)
      model_ = (fs::path(input_).parent_path() / "tokenizer.model").string();
    if (model_.empty()) throw Error(Exit::usage, "--model is required");
    if (document_ && !packed) throw Error(Exit::usage, "--document needs packed data");
    const auto tokenizer = spm::Tokenizer::open(model_);
    Writer writer(tokenizer, unescape(separator_));
    if (packed)
      decode_packed(tokenizer, writer);
    else
      decode_text(writer);
    writer.flush();
  }

 private:
  void decode_packed(const spm::Tokenizer& tokenizer, Writer& writer) const {
    const auto packed = PackedTokens::open(input_);
    if (packed.tokenizer() != tokenizer.hash())
      throw Error(Exit::data, model_, ": not the tokenizer of ", input_, ": expected hash ",
                  packed.tokenizer(), ", found ", tokenizer.hash());
    const int64_t first = document_.value_or(0);
    const int64_t last = document_ ? first + 1 : packed.documents();
    if (last > packed.documents())
      throw Error(Exit::usage, "--document ", first, ": ", input_, " has ", packed.documents());
    for (int64_t d = first; d < last; ++d) {
      for (int64_t at = packed.begin(d); at < packed.begin(d + 1); at += kBlockTokens) {
        const auto ids = packed.ids(at, std::min(at + kBlockTokens, packed.begin(d + 1)));
        const auto* data = ids.const_data_ptr<int64_t>();
        for (int64_t i = 0; i < ids.numel(); ++i) writer.id(data[i]);
      }
      writer.end_document();
    }
  }

  void decode_text(Writer& writer) const {
    const auto source = open_bytes(input_);
    std::string block(kBlockBytes, '\0'), word;
    uint64_t line = 1;
    bool open = false;  // a line was begun
    const auto end_word = [&] {
      if (word.empty()) return;
      int64_t id = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
      const auto where = concat(input_ == "-" ? "stdin" : input_, ":", line, ": ");
      if (error != std::errc() || end != word.data() + word.size())
        throw Error(Exit::data, where, "'", word.substr(0, 40), "' is no token id");
      try {
        writer.id(id);
      } catch (const Error& error) {
        throw Error(error.code(), where, error.what());
      }
      word.clear();
    };
    for (size_t n; (n = source->read(block.data(), block.size())) > 0;) {
      for (size_t i = 0; i < n; ++i) {
        const char c = block[i];
        open = true;
        if (c == ' ' || c == '\t' || c == '\r') {
          end_word();
        } else if (c == '\n') {
          end_word();
          writer.end_document();
          ++line;
          open = false;
        } else {
          word += c;
          if (word.size() > 64) end_word();
        }
      }
      writer.flush();  // whoever reads the pipe gets what is known
    }
    end_word();
    if (open) writer.end_document();
  }

  std::string input_ = "-", model_, separator_;
  std::optional<int64_t> document_;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_decode() {
  return std::make_unique<Decode>();
}

}  // namespace lact::text
