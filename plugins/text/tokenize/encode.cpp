// lact-tokenize text encode: text to packed token data, or to ids as text.

#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/common/work/ordered.hpp>
#include <plugins/text/commands.hpp>
#include <plugins/text/input/documents.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>

#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

namespace lact::text {
namespace {

namespace fs = std::filesystem;

enum class Split { train, validation };

/// A stretch of a document that is encoded on its own.
struct Segment {
  std::string text;
  bool first = false, last = false;
  Split split = Split::train;
};
constexpr size_t kBatchBytes = size_t{256} << 10;

struct Encoded {
  std::vector<int32_t> ids;
  size_t bytes = 0;
  uint64_t lost = 0;
  bool first = false, last = false;
  Split split = Split::train;
};

using Batch = std::vector<Segment>;
using Results = std::vector<Encoded>;

/// Counts of one split.
struct Counts {
  int64_t documents = 0, tokens = 0;
  uint64_t bytes = 0;
};

/// Where ids go. Calls come in the order of the documents.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void begin(Split split) = 0;
  virtual void append(const std::vector<int32_t>& ids, uint64_t bytes) = 0;
  virtual void end() = 0;
  /// All documents were handed over.
  virtual void finish() = 0;
};

/// Ids as decimal numbers, a document a line.
class IdSink final : public Sink {
 public:
  explicit IdSink(const std::string& file) {
    if (file != "-") file_.emplace(file);
  }
  void begin(Split) override { empty_ = true; }
  void append(const std::vector<int32_t>& ids, uint64_t) override {
    for (const int32_t id : ids) {
      if (!empty_) buffer_ += ' ';
      buffer_ += std::to_string(id);
      empty_ = false;
    }
    if (buffer_.size() > kBatchBytes) flush();
  }
  void end() override { buffer_ += '\n'; }
  void finish() override {
    flush();
    if (file_) file_->commit();
  }

 private:
  void flush() {
    if (file_)
      file_->write(buffer_);
    else
      cli::out(buffer_);
    buffer_.clear();
  }
  std::optional<io::AtomicFile> file_;
  std::string buffer_;
  bool empty_ = true;
};

/// train.safetensors, validation.safetensors and tokenizer.model of a folder.
class PackedSink final : public Sink {
 public:
  PackedSink(const fs::path& folder, const spm::Tokenizer& tokenizer, const fs::path& model,
             bool validation)
      : folder_(folder), model_(io::read_text(model)) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(Exit::cannot_create, folder.string(), ": ", error.message());
    writers_[0].emplace(folder / "train.safetensors", tokenizer.vocab_size(), tokenizer.hash(),
                        "train");
    if (validation)
      writers_[1].emplace(folder / "validation.safetensors", tokenizer.vocab_size(),
                          tokenizer.hash(), "validation");
  }
  void begin(Split split) override {
    current_ = &*writers_[split == Split::validation ? 1 : 0];
    current_->begin_document();
  }
  void append(const std::vector<int32_t>& ids, uint64_t bytes) override {
    current_->append(ids);
    current_->add_text_bytes(bytes);
  }
  void end() override {}
  /// A disk that is full leaves all files of an earlier run; only then they are replaced.
  /// train.safetensors comes last: where it is, the others are.
  void finish() override {
    const bool validation = writers_[1] && writers_[1]->documents() > 0;
    io::AtomicFile model(folder_ / "tokenizer.model");
    model.write(model_);
    model.seal();
    if (validation) writers_[1]->seal();
    writers_[0]->seal();
    if (validation) {
      writers_[1]->commit();
    } else {
      std::error_code ignored;  // one of an earlier run would not belong to this one
      fs::remove(folder_ / "validation.safetensors", ignored);
    }
    model.commit();
    writers_[0]->commit();
  }

 private:
  fs::path folder_;
  std::string model_;
  std::optional<TokenWriter> writers_[2];
  TokenWriter* current_ = nullptr;
};

/// Which documents are validation data: of every 1 / fraction documents in a row one, chosen by the
/// seed. So the share is kept closely even where documents are few.
class Splitter {
 public:
  Splitter(double fraction, std::vector<std::string> globs, uint64_t seed)
      : fraction_(fraction), globs_(std::move(globs)), seed_(seed) {}
  bool validates() const { return fraction_ > 0 || !globs_.empty(); }
  bool matches(const std::string& file) const {
    const auto name = fs::path(file).filename().string();
    return std::any_of(globs_.begin(), globs_.end(), [&](const auto& glob) {
      return ::fnmatch(glob.c_str(), file.c_str(), 0) == 0 ||
             ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
    });
  }
  Split next(const std::string& file) {
    if (matches(file)) return Split::validation;
    if (fraction_ <= 0) return Split::train;
    const auto document = static_cast<double>(count_++);
    while (chosen() < document) ++row_;
    return chosen() == document ? Split::validation : Split::train;
  }

 private:
  /// The document chosen in the present row of 1 / fraction documents.
  double chosen() const {
    uint64_t x = seed_ * 0xd1342543de82ef95u + (row_ + 1) * 0x9e3779b97f4a7c15u;  // splitmix64
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    const double within = static_cast<double>((x ^ x >> 31) >> 11) * 0x1p-53;
    return std::floor((static_cast<double>(row_) + within) / fraction_);
  }

  double fraction_;
  std::vector<std::string> globs_;
  uint64_t seed_, count_ = 0, row_ = 0;
};

class Encode final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    input_.declare(options);
    auto group = options.group("Tokenizer and output");
    group.add("-m,--model", model_, "SentencePiece model (tokenizer.model)")
        .value("FILE")
        .required();
    group
        .add("-o,--output", output_,
             "folder for train.safetensors, validation.safetensors and tokenizer.model; with --ids "
             "a file (default: stdout)")
        .value("PATH");
    group.flag("--ids", ids_, "write ids as text, a document per line");
    group.flag("--bos,!--no-bos", bos_,
               "begin each document with the BOS piece (default: yes for packed data, no with "
               "--ids)");
    group.flag("--eos,!--no-eos", eos_,
               "end each document with the EOS piece (default: as for --bos)");
    group
        .add("--validation-share", validation_share_,
             "fraction of documents held out for validation")
        .range(0.0, 1.0)
        .value("FRACTION");
    group
        .add("--validation-files", globs_,
             "hold out the documents of files whose path or name matches")
        .value("GLOB");
    options.renamed("--validation", "--validation-share");
  }

  void run(cli::Context& context) override {
    check(context);
    const auto tokenizer = spm::Tokenizer::open(model_);
    find_marks(tokenizer);
    if (!ids_) input_.output = output_;
    Documents documents(input_);
    Splitter splitter(validation_share_, globs_, context.seed.value_or(kDefaultSeed));
    if (!globs_.empty() && std::none_of(documents.files().begin(), documents.files().end(),
                                        [&](const auto& file) { return splitter.matches(file); }))
      throw Error(Exit::usage, "--validation-files: no input file matches ", globs_[0]);
    const auto sink = make_sink(tokenizer, splitter);
    encode(documents, splitter, tokenizer, *sink, context.threads);
    if (!ids_ && skipped_ > 0) log::info(skipped_, " empty documents left out");
    if (counts_[0].documents + counts_[1].documents == 0)
      throw Error(Exit::data, "the input holds no text");
    if (!ids_ && counts_[0].documents == 0)
      throw Error(Exit::data, "all documents are for validation, none is left for training");
    sink->finish();
    report(context, splitter);
  }

 private:
  void check(const cli::Context& context) {
    if (!ids_ && (output_.empty() || output_ == "-")) {
      if (output_.empty()) throw Error(Exit::usage, "give -o DIR for packed data, or --ids");
      ids_ = true;
    }
    if (ids_ && output_.empty()) output_ = "-";
    if (ids_ && (validation_share_ > 0 || !globs_.empty()))
      throw Error(Exit::usage, "--ids writes all documents; it has no validation split");
    if (ids_ && output_ == "-" && context.json)
      throw Error(Exit::usage, "--json and --ids both want stdout; give -o FILE");
  }

  void find_marks(const spm::Tokenizer& tokenizer) {
    const auto choose = [&](int asked, std::optional<int> id,
                            const char* name) -> std::vector<int32_t> {
      if (asked < 0 || (asked == 0 && ids_)) return {};
      if (id) return {*id};
      if (asked > 0) throw Error(Exit::data, model_, ": has no ", name, " piece");
      return {};
    };
    begin_ = choose(bos_, tokenizer.bos(), "BOS");
    end_ = choose(eos_, tokenizer.eos(), "EOS");
  }

  std::unique_ptr<Sink> make_sink(const spm::Tokenizer& tokenizer, const Splitter& splitter) const {
    if (ids_) return std::make_unique<IdSink>(output_);
    return std::make_unique<PackedSink>(output_, tokenizer, model_, splitter.validates());
  }

  void encode(Documents& documents, Splitter& splitter, const spm::Tokenizer& tokenizer, Sink& sink,
              int threads) {
    cli::Progress progress("encoding", static_cast<double>(documents.total_bytes()) / 1e6, "MB");
    work::Ordered<Batch, Results> workers(
        threads,
        [&](Batch& batch, const std::atomic<bool>&) { return encode_batch(tokenizer, batch); },
        [&](Results& results) {
          for (auto& one : results) take(tokenizer, one, sink);
        });
    Batch batch;
    size_t bytes = 0;
    const auto push = [&] {
      if (cli::stop_requested()) throw cli::Interrupted();
      workers.push(std::exchange(batch, {}));
      bytes = 0;
      progress.set(static_cast<double>(documents.bytes_read()) / 1e6);
    };
    cli::stop_requested();  // from here on a signal leaves no half file
    Split split = Split::train;
    bool first = true;
    std::string rest;
    for (Documents::Part part; documents.next(part);) {
      if (part.first) {
        first = true;
        rest.clear();
      }
      if (part.first && part.last && part.bytes.empty() && !ids_) {
        ++skipped_;
        continue;
      }
      if (part.first) split = splitter.next(documents.file());
      rest += part.bytes;
      size_t at = 0;
      for (;;) {
        const size_t length = tokenizer.next_segment(std::string_view(rest).substr(at), part.last);
        const bool last = part.last && at + length == rest.size();
        if (length == 0 && !last) break;
        batch.push_back({rest.substr(at, length), first, last, split});
        first = false;
        at += length;
        if ((bytes += length) >= kBatchBytes || batch.size() >= 4096) push();
        if (last) break;
      }
      rest.erase(0, at);
    }
    push();
    workers.finish();
  }

  static Results encode_batch(const spm::Tokenizer& tokenizer, Batch& batch) {
    Results results;
    results.reserve(batch.size());
    for (const auto& segment : batch) {
      Encoded one{{}, segment.text.size(), 0, segment.first, segment.last, segment.split};
      tokenizer.encode_segment(segment.text, segment.first, segment.last, one.ids);
      one.lost = tokenizer.lost_bytes(segment.text, !segment.first);
      results.push_back(std::move(one));
    }
    return results;
  }

  void take(const spm::Tokenizer& tokenizer, Encoded& one, Sink& sink) {
    auto& counts = counts_[one.split == Split::validation ? 1 : 0];
    if (one.first) {
      sink.begin(one.split);
      ++counts.documents;
      pending_ = begin_;
    }
    tokenizer.join(pending_, one.ids);
    if (one.last) pending_.insert(pending_.end(), end_.begin(), end_.end());
    std::vector<int32_t> keep;  // the last id waits: it may join with the next segment's first
    if (!one.last && !pending_.empty()) {
      keep.push_back(pending_.back());
      pending_.pop_back();
    }
    sink.append(pending_, one.bytes);
    counts.tokens += static_cast<int64_t>(pending_.size());
    counts.bytes += one.bytes;
    lost_ += one.lost;
    pending_ = std::move(keep);
    if (one.last) sink.end();
  }

  void report(const cli::Context& context, const Splitter& splitter) const {
    const char* names[] = {"train", "validation"};
    nlohmann::json json;
    for (int i = 0; i < 2; ++i) {
      const auto& counts = counts_[i];
      if (counts.documents == 0) continue;
      const double ratio =
          counts.tokens > 0 ? static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens)
                            : 0;
      json[names[i]] = {{"documents", counts.documents},
                        {"tokens", counts.tokens},
                        {"bytes", counts.bytes},
                        {"bytes_per_token", ratio}};
      log::info(ids_ ? "" : concat(names[i], ": "), counts.documents,
                counts.documents == 1 ? " document, " : " documents, ", counts.tokens, " tokens, ",
                counts.bytes, " bytes (", std::round(ratio * 100) / 100, " per token)");
    }
    json["lost_bytes"] = lost_;
    if (splitter.validates() && counts_[1].documents == 0)
      log::warning("too few documents for --validation-share ", validation_share_,
                   ": none was taken; name some by --validation-files");
    if (lost_ > 0)
      log::warning(lost_, " bytes cannot be decoded again: ", model_,
                   " has no byte pieces for what it does not know");
    if (context.json) cli::out(json.dump(2) + "\n");
  }

  DocumentOptions input_;
  std::string model_, output_;
  bool ids_ = false;
  int bos_ = 0, eos_ = 0;  // above 0: asked for; below: not wanted
  double validation_share_ = 0;
  std::vector<std::string> globs_;

  std::vector<int32_t> begin_, end_, pending_;
  Counts counts_[2];
  uint64_t lost_ = 0, skipped_ = 0;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_encode() {
  return std::make_unique<Encode>();
}

}  // namespace lact::text
