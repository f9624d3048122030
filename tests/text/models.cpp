#include "models.hpp"

#include <sentencepiece_trainer.h>
#include <zlib.h>

#include <stdexcept>
#include <unordered_map>

namespace lact::test {
namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t at_ = 0;
};

size_t below(std::mt19937_64& random, size_t n) {
  return static_cast<size_t>(random() % n);
}

std::string word(std::mt19937_64& random) {
  static const std::vector<std::string> syllables = {"ka", "ro", "shi", "the", "an", "ing", "é",
                                                     "lu", "mo", "ße",  "tt",  "qu", "ы",   "e"};
  std::string out;
  for (size_t n = 1 + below(random, 4); n > 0; --n) {
    const size_t a = below(random, syllables.size()), b = below(random, syllables.size());
    out += syllables[std::min(a, b)];  // some syllables are commoner than others
  }
  return out;
}

}  // namespace

std::string invented_text(uint64_t seed, size_t bytes) {
  std::mt19937_64 random(seed);
  std::string out;
  while (out.size() < bytes) {
    out += word(random);
    const size_t mark = below(random, 20);
    out += mark == 0 ? ".\n" : mark == 1 ? ", " : mark == 2 ? " 17 " : " ";
  }
  return out;
}

std::string hostile_text(uint64_t seed, size_t bytes) {
  static const std::vector<std::string> odd = {"\xe2\x96\x81",
                                               "\xe2\x96",
                                               "\xff",
                                               std::string(1, '\0'),
                                               "</s>",
                                               "<s>",
                                               "<unk>",
                                               "<0x41>",
                                               "  ",
                                               "     ",
                                               "\t",
                                               "\r\n",
                                               "\n",
                                               "\xc3",
                                               "\xed\xa0\x80",
                                               "\xf4\x90\x80\x80",
                                               "\xc0\x80",
                                               "e\xcc\x81",
                                               "\xef\xac\x81",
                                               "\xe3\x80\x80",
                                               "\xc2\xa0",
                                               "\xef\xbf\xbd",
                                               "你好",
                                               "\xf0\x9f\x98\x80",
                                               "<user>",
                                               "\xe2\x84\xa2",
                                               "\xef\xbb\xbf",
                                               "aaaaaaa",
                                               "-----",
                                               " <user> ",
                                               "\xe2\x96\x81the"};
  std::mt19937_64 random(seed);
  std::string out;
  while (out.size() < bytes) {
    const size_t what = below(random, 8);
    if (what < 4)
      out += word(random) + (what < 3 ? " " : "");
    else if (what < 7)
      out += odd[below(random, odd.size())];
    else
      out += static_cast<char>(random());
  }
  return out;
}

std::string train_model(const std::map<std::string, std::string>& changes) {
  std::unordered_map<std::string, std::string> arguments = {{"vocab_size", "460"},
                                                            {"model_type", "unigram"},
                                                            {"byte_fallback", "true"},
                                                            {"normalization_rule_name", "identity"},
                                                            {"remove_extra_whitespaces", "false"},
                                                            {"user_defined_symbols", "<user>"},
                                                            {"hard_vocab_limit", "false"},
                                                            {"num_threads", "2"},
                                                            {"minloglevel", "2"}};
  for (const auto& [key, value] : changes) arguments[key] = value;
  std::vector<std::string> lines;
  const auto text = invented_text(1, 40000);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  Lines iterator(std::move(lines));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return model;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib");
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("zlib");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace lact::test
