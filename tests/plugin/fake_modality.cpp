// The modality of all fakes, right in itself: fake.cpp makes plugins of it.

#include "fake_modality.hpp"

#include <lact/plugin/modality.hpp>

namespace {

using lact::plugin::Tool;

class Echo final : public lact::plugin::Command {
 public:
  explicit Echo(std::string verb) : verb_(std::move(verb)) {}
  void declare(lact::cli::Options options) override {
    options.add("WORD", words_, "words to say");
    options.add("--pitch", pitch_, "pitch in Hz");
  }
  void run(lact::cli::Context& context) override {
    std::string line = context.program + " [" + verb_ + "]";
    for (const auto& word : words_) line += " " + word;
    lact::cli::out(lact::concat(line, " at ", pitch_, "\n"));
  }

 private:
  std::string verb_;
  std::vector<std::string> words_;
  int64_t pitch_ = 440;
};

class Fake final : public lact::plugin::Modality {
 public:
  std::vector<lact::plugin::Verb> verbs(Tool tool) const override {
    if (tool == Tool::bench) return {{"", "echoes its words"}};
    if (tool == Tool::tokenize) return {{"train", "first verb"}, {"encode", "second verb"}};
    return {};
  }
  std::unique_ptr<lact::plugin::Command> command(Tool, std::string_view verb) override {
    return std::make_unique<Echo>(std::string(verb));
  }
  std::unique_ptr<lact::train::Task> task() override { return nullptr; }
  std::vector<lact::plugin::GoldenKind> verifiers() override { return {}; }
};

}  // namespace

void* make_fake() {
  return static_cast<lact::plugin::Modality*>(new Fake);
}

void delete_fake(void* modality) {
  delete static_cast<lact::plugin::Modality*>(modality);
}
