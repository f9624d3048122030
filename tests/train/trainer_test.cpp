#include "support/run_files.hpp"
#include "support/test.hpp"
#include "train/toy_task.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/random.hpp>
#include <lact/train/norm_history.hpp>
#include <lact/train/step_rule.hpp>
#include <lact/train/trainer.hpp>

#include <nlohmann/json.hpp>

#include <ATen/TensorOperators.h>

#include <fstream>
#include <sstream>

using namespace lact;
using namespace lact::test;
using nlohmann::json;
using train::Outcome;
using train::TrainOptions;

namespace {

namespace fs = std::filesystem;

TrainOptions options(const fs::path& run, int64_t steps) {
  TrainOptions all;
  all.output = run.string();
  all.steps = steps;
  all.learning_rate = 0.01;
  all.warmup_steps = 4;
  all.log_every = 1;
  all.eval_every = 5;
  all.eval_batches = 2;
  all.save_every = 5;
  all.keep = 100;
  return all;
}

/// One process' part: a fresh task, the trainer, what it said.
struct Session {
  TrainOptions options;
  ToyOptions toy;
  cli::Context context;
  int64_t stop_after = -1;  ///< steps of this session after which a signal is felt
  std::string config;
  std::vector<std::string> infos, warnings;
  std::function<void()> while_evaluating;

  Session(TrainOptions train, ToyOptions task = {})
      : options(std::move(train)), toy(std::move(task)) {
    context.dtype = "float32";
    context.threads = 1;
  }

  Outcome run() {
    ToyTask task(toy);
    task.while_evaluating = while_evaluating;
    context.resolved_config = config;
    int64_t seen = -1;  // the first question comes before the first step
    const train::Observer observer{[&](const std::string& line) { infos.push_back(line); },
                                   [&](const std::string& line) { warnings.push_back(line); },
                                   {},
                                   [&] { return ++seen >= stop_after && stop_after >= 0; }};
    return train::run(task, options, context, observer);
  }
};

/// The error's code and text, or (0, "").
std::pair<int, std::string> failure(Session& session) {
  try {
    session.run();
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.what()};
  }
  return {0, ""};
}

std::vector<json> metrics(const fs::path& run) {
  std::vector<json> lines;
  std::istringstream in(io::read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

/// Without what depends on the clock and the machine's memory.
std::vector<std::string> timeless(const fs::path& run) {
  std::vector<std::string> lines;
  for (auto& line : metrics(run)) {
    for (const char* key : {"throughput(tps)", "tflops", "mfu(%)"}) line.erase(key);
    for (auto item = line.begin(); item != line.end();)
      if (item.key().rfind("time_metrics/", 0) == 0 || item.key().rfind("memory/", 0) == 0)
        item = line.erase(item);
      else
        ++item;
    lines.push_back(line.dump());
  }
  return lines;
}

/// Every file of a checkpoint with the hash of its bytes.
std::map<std::string, std::string> bytes(const fs::path& run, int64_t step) {
  const auto folder = run / "checkpoints" / concat("step-", step);
  return hashes(folder);
}

json trainer_json(const fs::path& run, int64_t step) {
  return json::parse(
      io::read_text(run / "checkpoints" / concat("step-", step) / "training/trainer.json"));
}

at::Tensor saved(const fs::path& run, int64_t step, const std::string& file,
                 const std::string& tensor) {
  const auto path = run / "checkpoints" / concat("step-", step) / file;
  return io::SafeTensors::open(path).tensor(tensor).clone();
}

double number(const json& line, const char* key) {
  return line.at(key).get<double>();
}

}  // namespace

TEST_CASE("training lowers the loss on data it has not seen", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 200);
  all.learning_rate = 0.03;
  Session session(all);
  CHECK(session.run() == Outcome::done);
  const auto lines = metrics(folder / "run");
  std::vector<double> validation;
  for (const auto& line : lines)
    if (line.contains("validation_metrics/loss"))
      validation.push_back(line["validation_metrics/loss"]);
  REQUIRE(validation.size() == 40);
  CHECK(validation.back() < 0.5 * validation.front());
  CHECK(fs::read_symlink(folder / "run/latest") == "checkpoints/step-200");
}

TEST_CASE("metrics have torchtitan's keys, a line a step and a line an evaluation", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  toy.flops = 1e6;
  Session session(options(folder / "run", 6), toy);
  session.run();
  const auto lines = metrics(folder / "run");
  REQUIRE(lines.size() == 6 + 2);  // after step 5 and at the end
  for (const char* key :
       {"step", "loss_metrics/global_avg_loss", "loss_metrics/global_max_loss", "grad_norm", "lr",
        "n_tokens_seen", "optimizer/skipped_step", "throughput(tps)", "tflops", "mfu(%)",
        "time_metrics/end_to_end(s)", "time_metrics/data_loading(s)",
        "time_metrics/data_loading(%)", "memory/max_active(GiB)"}) {
    CAPTURE(key);
    CHECK(lines[0].contains(key));
  }
  CHECK(number(lines[3], "n_tokens_seen") == 4 * 30);
  CHECK(number(lines[0], "lr") == Approx(0.01 / 4));
  CHECK(number(lines[0], "tflops") * number(lines[0], "time_metrics/end_to_end(s)") ==
        Approx(1e-6));
  CHECK(lines[5].at("step") == 5);
  CHECK(lines[5].contains("validation_metrics/loss"));
}

TEST_CASE("uneven micro-batches add up to the step of one big batch", "[train]") {
  const TemporaryFolder folder;
  struct Last {
    at::Tensor weight, moment;
    json first_line;
  };
  const auto last = [&](const std::string& name, int micro) {
    ToyOptions toy;
    toy.micro_batches = micro;  // 30 rows: 8, 8, 7, 7
    Session(options(folder / name, 10), toy).run();
    return Last{saved(folder / name, 10, "model.safetensors", "first.weight"),
                saved(folder / name, 10, "training/optimizer.safetensors", "exp_avg.first.weight"),
                metrics(folder / name).at(0)};
  };
  const auto one = last("one", 1), four = last("four", 4);
  // Sums in another order, ten steps long; AdamW divides by small roots. It does not see the scale
  // of gradients: the moments do.
  CHECK(scaled_error(four.weight, one.weight) < 2e-5);
  CHECK(scaled_error(four.moment, one.moment) < 2e-5);
  const auto same = [&](const char* key) {
    return number(four.first_line, key) == Approx(number(one.first_line, key)).epsilon(1e-5);
  };
  CHECK(same("loss_metrics/global_avg_loss"));
  CHECK(same("grad_norm"));
  CHECK_FALSE(same("loss_metrics/global_max_loss"));
}

TEST_CASE("gradients longer than --max-norm are scaled to it", "[train]") {
  // After one step from zero, m = (1 - beta1) * gradient: the first moments show what was clipped.
  const TemporaryFolder folder;
  const auto moment_norm = [&](const std::string& name, double max_norm) {
    auto all = options(folder / name, 1);
    all.max_norm = max_norm;
    Session session(all);
    session.run();
    double squares = 0;
    for (const char* tensor : {"first.weight", "first.bias", "second.weight"}) {
      const auto moment = saved(folder / name, 1, "training/optimizer.safetensors",
                                std::string("exp_avg.") + tensor);
      squares += std::pow(moment.norm().item<double>(), 2);
    }
    const double shown = number(metrics(folder / name).at(0), "grad_norm");
    return std::make_pair(std::sqrt(squares) / (1 - 0.9), shown);
  };
  const auto [free, shown] = moment_norm("free", 0);
  CHECK(free == Approx(shown).epsilon(1e-5));
  REQUIRE(shown > 0.02);
  const auto [clipped, shown_again] = moment_norm("clipped", 0.01);
  CHECK(clipped == Approx(0.01).epsilon(1e-3));  // torch adds 1e-6 to the norm
  CHECK(shown_again == shown);                   // what is logged is the norm before
  const auto [large, ignored] = moment_norm("large", 1000);
  CHECK(large == free);
}

TEST_CASE("a step that is not finite changes no parameter and no moment, and is counted",
          "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 8);
  all.save_every = 1;
  ToyOptions toy;
  SECTION("the loss is NaN") {
    toy.nan_loss = {5};
  }
  SECTION("a gradient is NaN while the loss is finite") {
    toy.nan_gradient = {5};
  }
  SECTION("the loss of one micro-batch of three is NaN") {
    toy.nan_loss = {5};
    toy.micro_batches = 3;
  }
  Session session(all, toy);
  CHECK(session.run() == Outcome::done);
  for (const char* file : {"model.safetensors", "training/optimizer.safetensors"}) {
    CHECK(bytes(folder / "run", 5).at(file) == bytes(folder / "run", 6).at(file));
    CHECK(bytes(folder / "run", 6).at(file) != bytes(folder / "run", 7).at(file));
  }
  REQUIRE(session.warnings.size() == 1);
  CHECK_THAT(session.warnings[0], Catch::Contains("step 6 skipped") && Catch::Contains("finite"));
  const auto counters = trainer_json(folder / "run", 8);
  CHECK(counters["skipped_steps"] == 1);
  CHECK(counters["skipped_in_row"] == 0);
  CHECK(counters["optimizer_steps"] == 7);
  // The schedule goes on: step 7 has the rate it would have had.
  for (const auto& line : metrics(folder / "run"))
    if (line["step"] == 7 && line.contains("lr"))
      CHECK(number(line, "lr") == Approx(0.01 * (0.1 + 0.9 * 0.5 * (1 + std::cos(M_PI * 2 / 4)))));
  CHECK(metrics(folder / "run").back().contains("validation_metrics/loss"));
}

TEST_CASE("a step that explodes is skipped once there is a median to compare with", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  toy.explosion = {3, 20};  // 3: not yet 16 norms
  auto all = options(folder / "run", 22);
  all.save_every = 1;
  Session session(all, toy);
  session.run();
  REQUIRE(session.warnings.size() == 1);
  CHECK_THAT(session.warnings[0], Catch::Contains("step 21 skipped: the gradient norm"));
  CHECK(bytes(folder / "run", 20).at("model.safetensors") ==
        bytes(folder / "run", 21).at("model.safetensors"));
  CHECK(bytes(folder / "run", 20).at("training/optimizer.safetensors") ==
        bytes(folder / "run", 21).at("training/optimizer.safetensors"));

  all.output = (folder / "off").string();
  all.skip_norm = 0;
  Session off(all, toy);
  off.run();
  CHECK(off.warnings.empty());
}

TEST_CASE("norms that stay high are skipped three times, then they are what norms are", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  for (int64_t step = 20; step < 40; ++step) toy.explosion.insert(step);
  auto all = options(folder / "run", 40);
  all.max_skips = 3;  // one more would end the run
  Session session(all, toy);
  CHECK(session.run() == Outcome::done);
  REQUIRE(session.warnings.size() == 4);
  for (size_t i = 0; i < 3; ++i) CHECK_THAT(session.warnings[i], Catch::Contains("skipped"));
  CHECK_THAT(session.warnings[3],
             Catch::Contains("step 24") && Catch::Contains("going on, clipped"));
  CHECK(trainer_json(folder / "run", 40)["optimizer_steps"] == 37);
}

TEST_CASE("a norm can be too large from some step on, while clipping begins at once", "[train]") {
  train::StepRule rule;
  rule.skip_above = 10;
  rule.skip_above_from = 200;
  CHECK(rule.fault(199, 1, 50, 0).why == "");
  CHECK(rule.factor(199, 50) == Approx(1.0 / 50));
  CHECK(rule.fault(199, 1, NAN, 0).why == "a gradient is not finite");
  CHECK(rule.fault(200, 1, 50, 0).why == "the gradient norm 50 is more than 10");
  CHECK(rule.fault(200, 1, 9.9, 0).why == "");
  CHECK(rule.factor(200, 9.9) == Approx(1 / 9.9));

  const TemporaryFolder folder;
  ToyOptions toy;
  toy.explosion = {3, 20};
  auto all = options(folder / "run", 22);
  all.skip_norm = 0;
  all.skip_above = 100;
  all.skip_above_from = 10;
  Session session(all, toy);
  session.run();
  REQUIRE(session.warnings.size() == 1);
  CHECK_THAT(session.warnings[0], Catch::Contains("step 21 skipped: the gradient norm"));
}

TEST_CASE("the median of norms needs sixteen and remembers 128", "[train]") {
  train::NormHistory history;
  for (int i = 0; i < 15; ++i) history.add(1);
  CHECK(history.median() == 0);
  history.add(1);
  CHECK(history.median() == 1);
  for (int i = 1; i <= 128; ++i) history.add(i);
  CHECK(history.values().size() == 128);
  CHECK(history.median() == 65);
  CHECK(train::NormHistory(history.values()).median() == 65);
}

TEST_CASE("too many bad steps in a row end the run, which then can go on", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 12);
  all.max_skips = 2;
  all.save_every = 1;
  ToyOptions toy;
  toy.nan_loss = {4, 6, 7, 8};  // one alone, then one more than it survives
  Session session(all, toy);
  const auto [code, what] = failure(session);
  CHECK(code == 75);
  CHECK_THAT(what, Catch::Contains("3 steps in a row were skipped") && Catch::Contains("step-9") &&
                       Catch::Contains("--resume"));
  CHECK(bytes(folder / "run", 6).at("model.safetensors") ==
        bytes(folder / "run", 9).at("model.safetensors"));
  all.resume = true;
  Session again(all, toy);
  CHECK(again.run() == Outcome::done);
  CHECK(trainer_json(folder / "run", 12)["skipped_steps"] == 4);
}

TEST_CASE("a run that stops and goes on ends in the bytes of one that never stopped", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  toy.noise = 0.1;  // LibTorch's generator is part of the state
  toy.micro_batches = 2;
  toy.ballast = 100;
  toy.nan_loss = {9};
  toy.explosion = {21};
  const double ema = GENERATE(0.0, 0.9);
  const auto part = [&](const std::string& name, bool resume, int64_t stop_after) {
    auto all = options(folder / name, 30);
    all.resume = resume;
    all.ema = ema;
    Session session(all, toy);
    session.stop_after = stop_after;
    return session.run();
  };
  CHECK(part("whole", false, -1) == Outcome::done);
  const int64_t first = GENERATE(1, 4, 7, 13);  // also between checkpoints
  CAPTURE(first);
  CHECK(part("parts", false, first) == Outcome::interrupted);
  CHECK(part("parts", true, 9) == Outcome::interrupted);
  CHECK(part("parts", true, 1) == Outcome::interrupted);
  CHECK(part("parts", true, -1) == Outcome::done);
  CHECK(bytes(folder / "parts", 30) == bytes(folder / "whole", 30));
  CHECK(timeless(folder / "parts") == timeless(folder / "whole"));
  CHECK(bytes(folder / "whole", 30).count("manifest.json") == 1);
  CHECK(bytes(folder / "whole", 30) != bytes(folder / "whole", 25));
}

TEST_CASE("checkpoints that are written while training goes on have the same bytes", "[train]") {
  const TemporaryFolder folder;
  const auto train = [&](const std::string& name, const std::string& mode) {
    auto all = options(folder / name, 12);
    all.async_mode = mode;
    all.save_every = 1;
    all.keep = 20;
    all.ema = 0.9;
    Session(all).run();
    return folder / name;
  };
  const auto waits = train("waits", "disabled"), aside = train("aside", "async");
  for (int64_t step = 1; step <= 12; ++step) {
    CAPTURE(step);
    CHECK(bytes(aside, step) == bytes(waits, step));
  }
  CHECK(fs::canonical(aside / "latest").filename() == "step-12");
}

TEST_CASE("with --ema averages are saved and evaluated, and training is as without", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  toy.nan_loss = {4};
  const auto train = [&](const std::string& name, double ema) {
    auto all = options(folder / name, 8);
    all.ema = ema;
    all.save_every = 1;
    all.eval_every = 8;
    Session(all, toy).run();
    return folder / name;
  };
  const auto plain = train("plain", 0), averaged = train("averaged", 0.75);
  const std::string tensor = "first.weight";
  const auto parameter = [&](int64_t step) {
    return saved(averaged, step, "training/optimizer.safetensors", "parameter." + tensor);
  };
  // The parameters from which a run begins: one of the same seed whose only step is skipped.
  ToyOptions still;
  still.nan_loss = {0};
  Session(options(folder / "still", 1), still).run();
  auto average = saved(folder / "still", 1, "model.safetensors", tensor);
  for (int64_t step = 1; step <= 8; ++step) {
    CAPTURE(step);
    CHECK(same_bytes(parameter(step), saved(plain, step, "model.safetensors", tensor)));
    if (step != 5) average = 0.75 * average + 0.25 * parameter(step);  // the fifth is skipped
    CHECK(scaled_error(saved(averaged, step, "model.safetensors", tensor), average) < 1e-6);
  }
  ToyTask task(toy);
  task.build({.seed = kDefaultSeed});
  task.load(io::Checkpoint::open(averaged / "checkpoints/step-8"));
  auto sums = task.tally(0);
  const auto second = task.tally(1);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += second[i];
  const auto published = task.conclude(sums);
  const auto measured = metrics(averaged).back();
  CHECK(number(measured, "validation_metrics/loss") == published.at("validation_metrics/loss"));
  CHECK(number(measured, "validation_metrics/loss") !=
        number(metrics(plain).back(), "validation_metrics/loss"));
}

TEST_CASE("a run whose newest checkpoint is lost or damaged goes on from the one before",
          "[train]") {
  const TemporaryFolder folder;
  const auto whole = folder / "whole", run = folder / "run";
  Session(options(whole, 20)).run();
  Session(options(run, 20)).run();
  const auto newest = run / "checkpoints/step-20";
  SECTION("a byte has changed") {
    std::fstream file(newest / "training/optimizer.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end).put('x');
  }
  SECTION("a file is missing") {
    fs::remove(newest / "training/trainer.json");
  }
  size_t warnings = 1;
  SECTION("all of it is gone") {
    fs::remove_all(newest);
    warnings = 0;
  }
  auto all = options(run, 20);
  all.resume = true;
  Session again(all);
  CHECK(again.run() == Outcome::done);
  CHECK(again.infos.at(0).find("step-15") != std::string::npos);
  CHECK(again.warnings.size() == warnings);
  CHECK(bytes(run, 20) == bytes(whole, 20));
  CHECK(timeless(run) == timeless(whole));
}

TEST_CASE("checkpoints of which none is intact are an error, not a start from nothing", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 5);
  Session(all).run();
  fs::remove(folder / "run/checkpoints/step-5/manifest.json");
  all.resume = true;
  Session again(all);
  const auto [code, what] = failure(again);
  CHECK(code == 65);
  CHECK_THAT(what, Catch::Contains("none is intact"));
  CHECK(again.warnings.size() == 1);
}

TEST_CASE("a run that ended before its first checkpoint starts again with the same bytes",
          "[train]") {
  const TemporaryFolder folder;
  Session(options(folder / "whole", 10)).run();
  Session(options(folder / "run", 10)).run();
  fs::remove_all(folder / "run/checkpoints");
  fs::remove(folder / "run/latest");
  auto all = options(folder / "run", 10);
  all.resume = true;
  Session(all).run();
  CHECK(bytes(folder / "run", 10) == bytes(folder / "whole", 10));
  CHECK(timeless(folder / "run") == timeless(folder / "whole"));
}

TEST_CASE("a link that a kill left behind is set when the run goes on", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 10);
  Session(all).run();
  const auto before = bytes(folder / "run", 10);
  fs::remove(folder / "run/latest");
  fs::create_directory_symlink("checkpoints/step-5", folder / "run/latest");
  all.resume = true;
  Session(all).run();
  CHECK(fs::read_symlink(folder / "run/latest") == "checkpoints/step-10");
  CHECK(bytes(folder / "run", 10) == before);
}

TEST_CASE("evaluating, logging and saving do not change what is learned", "[train]") {
  const TemporaryFolder folder;
  ToyOptions toy;
  toy.noise = 0.1;  // evaluation draws from the same generator
  auto often = options(folder / "often", 12), seldom = options(folder / "seldom", 12);
  often.eval_every = often.save_every = 1;
  seldom.eval_every = seldom.save_every = 0;
  seldom.log_every = 100;
  Session(often, toy).run();
  Session(seldom, toy).run();
  const auto learned = [&](const char* run) {
    auto files = bytes(folder / run, 12);
    for (const char* name : {"README.md", "manifest.json"}) files.erase(name);  // names the loss
    return files;
  };
  CHECK(learned("often") == learned("seldom"));
  CHECK(metrics(folder / "seldom").size() == 2);  // the first step and the last
}

TEST_CASE("an evaluation that a signal cut short is made up for", "[train]") {
  const TemporaryFolder folder;
  Session whole(options(folder / "whole", 10));
  whole.run();
  Session session(options(folder / "run", 10));
  // Questions: before the first step, after steps 1 to 4, then within the evaluation.
  session.stop_after = 6;
  CHECK(session.run() == Outcome::interrupted);
  CHECK(metrics(folder / "run").size() == 5);
  auto all = options(folder / "run", 10);
  all.resume = true;
  Session(all).run();
  CHECK(timeless(folder / "run") == timeless(folder / "whole"));
}

TEST_CASE("a directory with a run needs --resume, and one in use cannot be had", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 3);
  Session first(all);
  first.options.eval_every = 2;
  std::pair<int, std::string> second;
  first.while_evaluating = [&] {
    Session other(all);
    second = failure(other);
  };
  first.run();
  CHECK(second.first == 75);
  CHECK_THAT(second.second, Catch::Contains("another process is training here"));
  Session third(all);
  const auto [code, what] = failure(third);
  CHECK(code == 73);
  CHECK_THAT(what, Catch::Contains("holds a run") && Catch::Contains("--resume"));
}

TEST_CASE("a run keeps its options, dtype, threads and seed", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 3);
  Session first(all);
  first.context.seed = 7;
  first.config = "lr = 0.01\nsteps = 3\ndtype = \"auto\"\nthreads = 0\n";
  first.run();
  const auto stored = io::read_text(folder / "run/run.toml");
  CHECK_THAT(stored, Catch::Contains("seed = 7") && Catch::Contains("dtype = \"float32\"") &&
                         Catch::Contains("threads = 1") && Catch::Contains("device = \"cpu\""));
  all.resume = true;
  const auto resumed = [&](const std::function<void(Session&)>& change) {
    Session next(all);
    next.context.dtype = "auto";
    next.config = first.config;
    change(next);
    return failure(next);
  };
  CHECK(resumed([](Session&) {}).first == 0);
  const auto refusal = [&](const std::function<void(Session&)>& change) {
    const auto [code, what] = resumed(change);
    CHECK(code == 64);
    return what;
  };
  CHECK_THAT(refusal([](Session& s) { s.context.seed = 8; }), Catch::Contains("--seed"));
  CHECK_THAT(refusal([](Session& s) { s.context.dtype = "bfloat16"; }),
             Catch::Contains("--dtype") && Catch::Contains("float32, not bfloat16"));
  CHECK_THAT(refusal([](Session& s) {
               s.config = "lr = 0.01\nsteps = 3\nthreads = 2\n";
               s.context.threads = 2;
             }),
             Catch::Contains("--threads"));
  CHECK_THAT(refusal([](Session& s) { s.config = "lr = 0.02\nsteps = 3\n"; }),
             Catch::Contains("lr: 0.01 in the run, 0.02 now"));
  CHECK(resumed([](Session& s) {
          s.config = "lr = 0.01\nsteps = 5\nkeep = 1\n";
          s.options.steps = 5;
        }).first == 0);
  CHECK(metrics(folder / "run").back()["step"] == 5);
  CHECK_THAT(io::read_text(folder / "run/run.toml"), Catch::Contains("steps = 5"));
}

TEST_CASE("only the newest checkpoints are kept", "[train]") {
  const TemporaryFolder folder;
  auto all = options(folder / "run", 10);
  all.save_every = 2;
  all.keep = 2;
  Session(all).run();
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder / "run/checkpoints"))
    names.push_back(item.path().filename());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"step-10", "step-8"});
}

TEST_CASE("a dry run's cost is told to people and to programs", "[train]") {
  ToyOptions toy;
  toy.flops = 2.5e9;
  const auto cost = ToyTask(toy).cost({});
  CHECK(train::describe(cost, false) ==
        "hidden width       16\n"
        "parameters         208\n"
        "tokens per step    30\n"
        "FLOPs per step     2.50 GFLOP\n"
        "memory (estimate)  3.25 KiB\n");
  const auto values = json::parse(train::describe(cost, true));
  CHECK(values["parameters"] == 208);
  CHECK(values["flops_per_step"] == 2.5e9);
  CHECK(values["sizes"]["hidden width"] == "16");
}
