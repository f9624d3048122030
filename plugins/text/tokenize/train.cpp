// lact-tokenize text train: a SentencePiece model from text, with the trainer's own options.

#include <plugins/common/spm/model_file.hpp>
#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/input/documents.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>

#include <nlohmann/json.hpp>

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <unordered_map>
#include <utility>

namespace lact::text {
namespace {

/// From here on the trainer counts in 64 bits, which takes twice the memory.
constexpr uint64_t kLargeBytes = uint64_t{1} << 30;

/// Sentences for the trainer: the lines of all documents. The trainer drops lines that are longer
/// than its limit, and those that hold its own marks; so long lines are cut at a space, and lines
/// are cut at what it cannot take (U+2581, U+2585, NUL, broken UTF-8).
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  Sentences(Documents& documents, size_t longest) : documents_(documents), longest_(longest) {
    advance();
  }
  bool done() const override { return done_; }
  void Next() override { advance(); }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

  /// What went wrong while reading; the trainer only sees the end.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }
  uint64_t bytes() const { return bytes_; }

 private:
  void advance() {
    try {
      while (!cut())
        if (!read()) {
          done_ = true;
          return;
        }
    } catch (...) {
      error_ = std::current_exception();
      done_ = true;
    }
  }

  bool read() {
    Documents::Part part;
    if (!documents_.next(part)) return false;
    text_.erase(0, at_);
    at_ = 0;
    bytes_ += part.bytes.size();
    text_ += part.bytes;
    whole_ = part.last;
    if (whole_) text_ += '\n';
    return true;
  }

  /// Takes the next sentence out of text_; false if more has to be read.
  bool cut() {
    while (at_ < text_.size()) {
      size_t end = at_, space = at_;
      bool ended = false;
      while (end < text_.size() && end - at_ < longest_) {
        const size_t length = good(end);
        if (length == 0) {
          ended = true;
          break;
        }
        if (end + length - at_ > longest_) break;
        if (text_[end] == ' ') space = end;
        end += length;
      }
      // The block may end inside a character, or inside what is to be one sentence.
      if (!whole_ && end + 4 > text_.size()) return false;
      if (!ended && space > at_) end = space;
      if (end == at_) {  // what cannot be taken
        ++at_;
        continue;
      }
      sentence_ = text_.substr(at_, end - at_);
      at_ = end;
      if (sentence_.find_first_not_of(" \r") != std::string::npos) return true;
    }
    return false;
  }

  /// Length of the character at `at`, 0 if a sentence cannot hold it.
  size_t good(size_t at) const {
    const std::string_view rest(text_.data() + at, text_.size() - at);
    if (rest[0] == '\n' || rest[0] == '\0') return 0;
    if (rest.substr(0, 3) == "\xe2\x96\x81" || rest.substr(0, 3) == "\xe2\x96\x85") return 0;
    return spm::utf8_length(rest.substr(0, 4));
  }

  Documents& documents_;
  size_t longest_;
  std::string text_, sentence_;
  size_t at_ = 0;
  uint64_t bytes_ = 0;
  bool done_ = false, whole_ = false;
  std::exception_ptr error_;
};

/// One value of a list, as the trainer reads lists.
std::string csv(const std::vector<std::string>& values) {
  std::string out;
  for (const auto& value : values) {
    if (&value != &values.front()) out += ',';
    out += '"';
    for (const char c : value) out += c == '"' ? "\"\"" : std::string(1, c);
    out += '"';
  }
  return out;
}

/// "Internal: src/x.cc(12) [expr] text" -> "text": where in the library helps nobody.
std::string reason(std::string text) {
  const auto expression = text;
  if (const auto at = text.rfind("] "); at != std::string::npos) text.erase(0, at + 2);
  if (const auto at = text.find("Internal: "); at == 0) text.erase(0, 10);
  if (const auto at = text.find(".cc("); at != std::string::npos)
    if (const auto end = text.find(") ", at); end != std::string::npos) text.erase(0, end + 2);
  if (text.find_first_not_of(' ') == std::string::npos) return expression;
  // Its options in our words.
  const auto replace = [&](const char* theirs, const char* ours) {
    if (const auto at = text.find(theirs); at != std::string::npos)
      text.replace(at, std::strlen(theirs), ours);
  };
  replace("decrease character_coverage with --character_coverage option",
          "lower --character-coverage");
  replace("Increase vocab_size", "Increase --vocab-size");
  if (text.find("Vocabulary size too high") != std::string::npos)
    text += " (--vocab-size), or give --no-hard-vocab-limit";
  return text;
}

/// What the library refuses without saying why.
void check_symbols(const std::vector<std::string>& symbols,
                   const std::vector<std::pair<const char*, int>>& ids) {
  std::set<std::string> seen;
  for (const auto& symbol : symbols) {
    if (symbol.empty()) throw Error(Exit::usage, "an empty symbol cannot be a piece");
    if (!seen.insert(symbol).second)
      throw Error(Exit::usage, "symbol ", symbol, ": given twice, and can be one piece alone");
  }
  for (size_t i = 0; i < ids.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (ids[i].second >= 0 && ids[i].second == ids[j].second)
        throw Error(Exit::usage, ids[i].first, " ", ids[i].second, ": that id is ", ids[j].first,
                    "'s");
}

/// Better said now than after a corpus was read.
void check_folder_of(const std::filesystem::path& file) {
  const auto parent = file.parent_path();
  std::error_code error;
  if (file != "-" && !parent.empty() && !std::filesystem::is_directory(parent, error))
    throw Error(Exit::cannot_create, file.string(), ": no folder ", parent.string(),
                ": make it first");
}

class Train final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    input_.declare(options);
    auto group = options.group("Tokenizer");
    group.add("-o,--output", output_, "model file to write; -: stdout").value("FILE");
    group.add("--model-type", model_type_, "method that chooses pieces")
        .words({"unigram", "bpe", "char", "word"});
    group.add("--vocab-size", vocab_size_, "number of pieces, control and byte pieces included")
        .range(2, 1 << 24);
    group
        .add("--character-coverage", character_coverage_,
             "fraction of the text's characters that become pieces")
        .range(0.0, 1.0);
    group.flag("--byte-fallback,!--no-byte-fallback", byte_fallback_,
               "add 256 byte pieces, so that any bytes can be encoded (default: yes)");
    group.add("--normalization-rule-name", normalization_, "normalization of the text")
        .words({"identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf"});
    group.flag("--remove-extra-whitespaces", remove_extra_whitespaces_,
               "remove leading, trailing and repeated spaces");
    group.flag("--add-dummy-prefix,!--no-add-dummy-prefix", add_dummy_prefix_,
               "treat the text as if it began with a space (default: yes)");
    group.add("--user-defined-symbols", user_symbols_, "text that is always one piece")
        .value("TEXT");
    group.add("--control-symbols", control_symbols_, "piece that no text is encoded to")
        .value("TEXT");
    group.flag("--split-digits", split_digits_, "make every digit a piece of its own");
    group.flag("--split-by-whitespace,!--no-split-by-whitespace", split_by_whitespace_,
               "let no piece reach across a space (default: yes)");
    group.flag("--allow-whitespace-only-pieces", whitespace_pieces_,
               "allow pieces that are runs of spaces");
    group.add("--max-sentencepiece-length", max_piece_length_, "characters of the longest piece")
        .range(1, 512);
    group
        .add("--input-sentence-size", input_sentences_,
             "number of lines to train on, chosen at random; 0: all")
        .at_least(0);
    group.add("--max-sentence-length", max_sentence_, "bytes after which a line is cut")
        .range(64, 1 << 20);
    group.flag("--hard-vocab-limit,!--no-hard-vocab-limit", hard_vocab_limit_,
               "fail if the text has fewer pieces than --vocab-size (default: yes)");
    group.add("--unk-id", unk_id_, "id of the unknown piece");
    group.add("--bos-id", bos_id_, "id of <s>; -1: none");
    group.add("--eos-id", eos_id_, "id of </s>; -1: none");
    group.add("--pad-id", pad_id_, "id of <pad>; -1: none");
    group
        .add("--num-threads", num_threads_,
             "number of parts that sums are split into, which the result depends on; not the "
             "machine's threads")
        .range(1, 1024);
  }

  void run(cli::Context& context) override {
    if (output_.empty()) throw Error(Exit::usage, "-o FILE is required");
    if (output_ == "-" && context.json)
      throw Error(Exit::usage, "--json and -o - both want stdout");
    check_folder_of(output_);
    auto symbols = user_symbols_;
    symbols.insert(symbols.end(), control_symbols_.begin(), control_symbols_.end());
    check_symbols(symbols, {{"--unk-id", unk_id_},
                            {"--bos-id", bos_id_},
                            {"--eos-id", eos_id_},
                            {"--pad-id", pad_id_}});
    Documents documents(input_);
    Sentences sentences(documents, static_cast<size_t>(max_sentence_));
    sentences.rethrow();
    if (sentences.done()) throw Error(Exit::data, "the input holds no text");
    sentencepiece::SetRandomGeneratorSeed(
        static_cast<unsigned>(context.seed.value_or(kDefaultSeed)));
    log::status("training the tokenizer");
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        arguments(context, documents.total_bytes() > kLargeBytes), &sentences, &model);
    log::status("");
    sentences.rethrow();
    if (!status.ok()) throw Error(Exit::data, "SentencePiece: ", reason(status.ToString()));
    finish(context, model, sentences.bytes());
  }

 private:
  std::unordered_map<std::string, std::string> arguments(const cli::Context& context,
                                                         bool large) const {
    const auto yes = [](bool value) { return std::string(value ? "true" : "false"); };
    std::unordered_map<std::string, std::string> all = {
        {"model_type", model_type_},
        {"vocab_size", std::to_string(vocab_size_)},
        {"character_coverage", std::to_string(character_coverage_)},
        {"byte_fallback", yes(byte_fallback_)},
        {"normalization_rule_name", normalization_},
        {"remove_extra_whitespaces", yes(remove_extra_whitespaces_)},
        {"add_dummy_prefix", yes(add_dummy_prefix_)},
        {"split_digits", yes(split_digits_)},
        {"split_by_whitespace", yes(split_by_whitespace_)},
        {"allow_whitespace_only_pieces", yes(whitespace_pieces_)},
        {"max_sentencepiece_length", std::to_string(max_piece_length_)},
        {"input_sentence_size", std::to_string(input_sentences_)},
        {"max_sentence_length", std::to_string(max_sentence_)},
        {"hard_vocab_limit", yes(hard_vocab_limit_ && model_type_ != "char")},
        {"unk_id", std::to_string(unk_id_)},
        {"bos_id", std::to_string(bos_id_)},
        {"eos_id", std::to_string(eos_id_)},
        {"pad_id", std::to_string(pad_id_)},
        {"num_threads", std::to_string(num_threads_)},
        {"train_extremely_large_corpus", yes(large)},
        {"minloglevel", context.verbose > 0 ? "0" : "3"}};
    if (!user_symbols_.empty()) all["user_defined_symbols"] = csv(user_symbols_);
    if (!control_symbols_.empty()) all["control_symbols"] = csv(control_symbols_);
    return all;
  }

  void finish(const cli::Context& context, const std::string& model, uint64_t bytes) const {
    io::write_text(output_, model);
    const auto file = spm::ModelFile::parse(model, output_);
    const auto hash = io::xxh3(model.data(), model.size());
    log::info(file.pieces.size(), " pieces from ", bytes, " bytes of text");
    if (byte_fallback_ && (normalization_ != "identity" || remove_extra_whitespaces_))
      log::info("the model normalises text, as SentencePiece does: decoding gives the normal form");
    if (context.json)
      cli::out(nlohmann::json{{"model", output_},
                              {"pieces", file.pieces.size()},
                              {"tokenizer", hash},
                              {"bytes", bytes}}
                   .dump(2) +
               "\n");
  }

  DocumentOptions input_;
  std::string output_, model_type_ = "unigram", normalization_ = "identity";
  int vocab_size_ = 8000, max_piece_length_ = 16, max_sentence_ = 4192;
  int unk_id_ = 0, bos_id_ = 1, eos_id_ = 2, pad_id_ = -1, num_threads_ = 16;
  int64_t input_sentences_ = 0;
  double character_coverage_ = 0.9995;
  bool byte_fallback_ = true, remove_extra_whitespaces_ = false, add_dummy_prefix_ = true;
  bool split_digits_ = false, split_by_whitespace_ = true, whitespace_pieces_ = false;
  bool hard_vocab_limit_ = true;
  std::vector<std::string> user_symbols_, control_symbols_;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_train() {
  return std::make_unique<Train>();
}

}  // namespace lact::text
