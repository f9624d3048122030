// Plugins that are right, or wrong in one way each: -DFAKE_... chooses.

#include <lact/plugin/modality.hpp>

#include <stdexcept>

#ifndef FAKE_ABI
#define FAKE_ABI LACT_PLUGIN_ABI
#endif
#ifndef FAKE_STAMP
#define FAKE_STAMP LACT_BUILD_STAMP
#endif
#ifndef FAKE_ANSWER
#define FAKE_ANSWER &description
#endif
#ifndef FAKE_SYMBOL
#define FAKE_SYMBOL lact_plugin_describe
#endif

void lact_does_not_have_this();

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

void* create() {
#ifdef FAKE_UNRESOLVED
  lact_does_not_have_this();
#endif
#if defined(FAKE_NULL)
  return nullptr;
#elif defined(FAKE_THROW)
  throw std::runtime_error("no microphone");
#else
  return static_cast<lact::plugin::Modality*>(new Fake);
#endif
}

void destroy(void* modality) {
  delete static_cast<lact::plugin::Modality*>(modality);
}

}  // namespace

extern "C" const lact_plugin* FAKE_SYMBOL(void) {
  [[maybe_unused]] static const lact_plugin description = {
      FAKE_ABI, FAKE_STAMP, FAKE_NAME, "a fake of the tests", create, destroy};
  return FAKE_ANSWER;
}
