// lact-toy.so: the toy task as a modality, so that lact-train itself can be run, killed and
// resumed.

#include "train/toy_task.hpp"

#include <lact/plugin/modality.hpp>

namespace {

using lact::plugin::Command;
using lact::plugin::GoldenKind;
using lact::plugin::Tool;
using lact::plugin::Verb;

class Toy final : public lact::plugin::Modality {
 public:
  std::vector<Verb> verbs(Tool) const override { return {}; }
  std::unique_ptr<Command> command(Tool, std::string_view) override { return nullptr; }
  std::unique_ptr<lact::train::Task> task() override {
    return std::make_unique<lact::test::ToyTask>();
  }
  std::vector<GoldenKind> verifiers() override { return {}; }
};

}  // namespace

LACT_PLUGIN(Toy, "toy", "a two-layer student of a fixed teacher, for tests")
