#pragma once
// What a modality brings: its verbs and options, its data, model and loss.

#include <lact/plugin/abi.h>
#include <lact/plugin/stamp.h>
#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/train/task.hpp>
#include <lact/verify/kind.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lact::plugin {

enum class Tool { tokenize, train, generate, render, bench };

struct Verb {
  std::string name, summary;
};

/// One verb of one tool.
class Command {
 public:
  virtual ~Command();
  /// Its own options.
  virtual void declare(cli::Options options) = 0;
  /// Does the work. Throws lact::Error.
  virtual void run(cli::Context& context) = 0;
};

/// A verb of a tool, and what makes its command.
struct Listed {
  Tool tool;
  Verb verb;
  std::unique_ptr<Command> (*make)();
};

using verify::Check;
using verify::GoldenKind;

class Modality {
 public:
  virtual ~Modality();
  /// A tool with a single unnamed verb returns {{"", summary}}. Of lact-bench, verbs named
  /// `quality` and `sweep` stand before the modality: `lact-bench quality text`.
  virtual std::vector<Verb> verbs(Tool tool) const = 0;
  virtual std::unique_ptr<Command> command(Tool tool, std::string_view verb) = 0;
  /// What lact-train drives: its data, model and loss options are declared by Task::declare.
  /// Null if the modality does not train.
  virtual std::unique_ptr<train::Task> task() = 0;
  /// Golden files that it can replay, for lact-bench verify.
  virtual std::vector<GoldenKind> verifiers() = 0;
  /// What must hold on every machine, for lact-bench verify without files.
  virtual std::vector<Check> checks() { return {}; }
};

/// A modality whose verbs are a list.
class ListedModality : public Modality {
 public:
  explicit ListedModality(std::vector<Listed> list) : list_(std::move(list)) {}
  std::vector<Verb> verbs(Tool tool) const override;
  std::unique_ptr<Command> command(Tool tool, std::string_view verb) override;

 private:
  std::vector<Listed> list_;
};

}  // namespace lact::plugin

/// Defines the exported symbol of a plugin whose modality is `Type`.
#define LACT_PLUGIN(Type, plugin_name, plugin_summary)                                    \
  extern "C" const lact_plugin* lact_plugin_describe(void) {                              \
    static const lact_plugin description = {                                              \
        LACT_PLUGIN_ABI,                                                                  \
        LACT_BUILD_STAMP,                                                                 \
        plugin_name,                                                                      \
        plugin_summary,                                                                   \
        []() -> void* { return static_cast<::lact::plugin::Modality*>(new Type); },       \
        [](void* modality) { delete static_cast<::lact::plugin::Modality*>(modality); }}; \
    return &description;                                                                  \
  }
