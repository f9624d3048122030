// lact-bench's own verbs: ceiling and plot.

#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>

#include "../../tools/lact-bench/svg.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <sstream>

namespace lact::test {
namespace {

using bench::axis_marks;
using bench::axis_text;

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

/// The points of every polyline, as written.
std::vector<std::string> polylines(const std::string& svg) {
  const std::string before = "<polyline points=\"";
  std::vector<std::string> found;
  for (size_t at = 0; (at = svg.find(before, at)) != std::string::npos;) {
    at += before.size();
    found.push_back(svg.substr(at, svg.find('"', at) - at));
  }
  return found;
}

const char* kMetrics =
    "{\"step\": 0, \"loss_metrics/global_avg_loss\": 8, \"validation_metrics/loss\": 9}\n"
    "{\"step\": 10, \"loss_metrics/global_avg_loss\": 4, \"grad_norm\": null}\n"
    "{\"step\": 20, \"loss_metrics/global_avg_loss\": 4, \"validation_metrics/loss\": 5}\n";

}  // namespace

TEST_CASE("the product rate is what a product by hand takes") {
  const int64_t n = 512;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);  // threads that wait for each other on a busy machine hide the peak
  const auto a = at::rand({n, n}), b = at::rand({n, n});
  auto c = at::zeros({n, n});  // its pages are there: a new result may cost as much as the product
  double by_hand = 0, measured = 0;
  // Both are best of many, ten rounds at least, lest they meet by chance; other work on the machine
  // can only delay that they meet. A forgotten factor of 2 or a wrong unit keeps them apart.
  const auto meet = [&] { return measured < 1.5 * by_hand && by_hand < 1.5 * measured; };
  for (int round = 0; round < 10 || (round < 300 && !meet()); ++round) {
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      at::mm_out(c, a, b);
      const auto end = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(end - start).count();
      by_hand = std::max(by_hand, 2.0 * n * n * n / seconds);
    }
    measured = std::max(measured, ops::product_rate(c10::kCPU, at::kFloat, 0.01, n));
  }
  at::set_num_threads(threads);
  CAPTURE(by_hand, measured);
  CHECK(meet());
}

TEST_CASE("measuring leaves the program's random numbers alone") {
  at::manual_seed(5);
  const auto want = at::rand({4});
  at::manual_seed(5);
  ops::product_rate(c10::kCPU, at::kFloat, 0.01, 64);
  ops::resolve_dtype("auto", c10::kCPU);
  CHECK(same_bytes(at::rand({4}), want));
}

TEST_CASE("a dtype is one of those that can be said, and auto is the same each time") {
  CHECK(ops::resolve_dtype("float32", c10::kCPU) == at::kFloat);
  CHECK(ops::resolve_dtype("bfloat16", c10::kCPU) == at::kBFloat16);
  CHECK(ops::resolve_dtype("float64", c10::kCPU) == at::kDouble);
  CHECK(ops::resolve_dtype("auto", c10::kCPU) == ops::resolve_dtype("auto", c10::kCPU));
  CHECK_THROWS_WITH(ops::resolve_dtype("half", c10::kCPU),
                    "--dtype: expected auto, float32, bfloat16 or float64, found 'half'");
}

TEST_CASE("the ceiling is a table for people, and the same as JSON for programs") {
  const auto table = run({"lact-bench", "ceiling", "--seconds", "0.02", "--size", "128"});
  CHECK(table.exit == 0);
  CHECK(table.err.empty());
  CHECK(count(table.out, "\n") == 5);
  CHECK(count(table.out, "GFLOP/s") == 2);
  CHECK(count(table.out, "GB/s") == 1);
  const auto result =
      run({"lact-bench", "ceiling", "--seconds", "0.02", "--size", "128", "--json"});
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json.at("device") == "cpu");
  for (const char* dtype : {"float32", "bfloat16"})
    CHECK(json.at("product_flops_per_second").at(dtype).get<double>() > 1e6);
  CHECK(json.at("copy_bytes_per_second").get<double>() > 1e8);
}

TEST_CASE("points of a picture lie where arithmetic puts them") {
  const TemporaryFolder folder;
  write(folder / "metrics.jsonl", kMetrics);
  const auto result = run(
      {"lact-bench", "plot", (folder / "metrics.jsonl").string(), "--y-min", "0", "--y-max", "10"});
  CHECK(result.exit == 0);
  CHECK(result.err.empty());
  // The frame is x 78 to 740, y 402 (0) to 40 (10): 36.2 a unit.
  const std::vector<std::string> want{"78,112.4 409,257.2 740,257.2", "78,76.2 740,221"};
  CHECK(polylines(result.out) == want);
  for (const char* label :
       {">step<", ">loss<", ">training loss<", ">validation loss<", ">20<", ">10<"})
    CHECK(result.out.find(label) != std::string::npos);
}

TEST_CASE("curves are told apart by dashes and markers, several files by their names") {
  const TemporaryFolder folder;
  std::vector<std::string> words{"lact-bench", "plot"};
  for (const char* name : {"a&b", "second", "third"}) {
    std::filesystem::create_directory(folder / name);
    write(folder / name / "metrics.jsonl", kMetrics);
    words.push_back((folder / name).string());
  }
  const auto svg = run(words).out;
  CHECK(polylines(svg).size() == 6);
  std::set<std::string> looks;
  std::istringstream elements(svg);
  for (std::string line; std::getline(elements, line, '>');)
    if (const auto colour = line.find("stroke=\"#"); line.find("<line x1=\"78\"") != line.npos &&
                                                     line.find("x2=\"138\"") != line.npos &&
                                                     colour != line.npos)
      looks.insert(line.substr(line.find('"', colour + 9) + 1));
  CHECK(looks.size() == 6);
  CHECK(svg.find(">a&amp;b: training loss<") != std::string::npos);
  CHECK(svg.find(">third: validation loss<") != std::string::npos);
  write(folder / "picture.svg", svg);
  const auto parsed = run({"python3", "-c",
                           "import sys, xml.dom.minidom as m; "
                           "print(m.parse(sys.argv[1]).documentElement.tagName)",
                           (folder / "picture.svg").string()});
  CHECK(parsed.out == "svg\n");
}

TEST_CASE("benchmarks are drawn over depth, one curve a test; keys may be chosen") {
  const std::string rows =
      R"([{"test": "pp512", "n_depth": 0, "avg_ts": 100, "stddev_ts": 1},
          {"test": "tg128", "n_depth": 0, "avg_ts": 30, "stddev_ts": 2},
          {"test": "pp512", "n_depth": 4096, "avg_ts": 101, "stddev_ts": 3}])";
  const auto svg = run({"lact-bench", "plot", "-"}, rows).out;
  CHECK(polylines(svg).size() == 2);
  CHECK(svg.find(">speed (tokens/s)<") != std::string::npos);
  CHECK(svg.find(">tg128<") != std::string::npos);
  const auto chosen = run({"lact-bench", "plot", "-", "--x", "avg_ts", "--y", "stddev_ts", "--y",
                           "n_depth", "--x-label", "fast"},
                          rows);
  CHECK(polylines(chosen.out).size() == 4);
  CHECK(chosen.out.find(">fast<") != std::string::npos);
}

TEST_CASE("the same input gives the same picture, in a file as on stdout") {
  const TemporaryFolder folder;
  write(folder / "metrics.jsonl", kMetrics);
  const auto input = (folder / "metrics.jsonl").string(), output = (folder / "p.svg").string();
  CHECK(run({"lact-bench", "plot", input, "--out", output}).out.empty());
  std::ifstream file(output, std::ios::binary);
  const std::string written{std::istreambuf_iterator<char>(file), {}};
  CHECK(written == run({"lact-bench", "plot", input}).out);
  CHECK(written.size() > 1000);
}

TEST_CASE("input that cannot be drawn is refused with file, line and what there is") {
  const auto said = [](const std::string& input, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"lact-bench", "plot", "-"});
    return run(more, input);
  };
  CHECK(said("{\"step\": 1}\nnonsense\n{}\n").err.find("-:2: not a line of JSON") !=
        std::string::npos);
  CHECK(said("{\"step\": 1}\nnonsense\n{}\n").exit == 65);
  CHECK(said("[1, 2]").exit == 65);
  CHECK(said("").exit == 65);
  const auto lacking = said(kMetrics, {"--y", "tps"});
  CHECK(lacking.exit == 65);
  CHECK(lacking.err.find("no row has numbers for 'step' and 'tps'; keys with numbers: "
                         "loss_metrics/global_avg_loss, step, validation_metrics/loss") !=
        std::string::npos);
  CHECK(said(kMetrics, {"--y-min", "3", "--y-max", "2"}).exit == 64);
  // Values whose difference overflows are left out as infinite ones are.
  const auto wild = said(
      "{\"step\": 1, \"loss\": 1e308}\n{\"step\": 2, \"loss\": -1e308}\n"
      "{\"step\": 3, \"loss\": 1}\n",
      {"--y", "loss"});
  CHECK(wild.exit == 0);
  CHECK_THAT(wild.out, Catch::Contains("</svg>"));
  CHECK(said(kMetrics, {"--out", "/nowhere/a.svg"}).exit == 73);
  CHECK(said(kMetrics, {"--out", "/dev/full"}).exit == 74);
  CHECK(run({"lact-bench", "plot", "/nowhere.jsonl"}).exit == 66);
}

TEST_CASE("a line that is being written is left out, with a warning") {
  const auto result =
      run({"lact-bench", "plot", "-"}, std::string(kMetrics) + "{\"step\": 30, \"lo");
  CHECK(result.exit == 0);
  CHECK(result.err.find("-:4: the last line is incomplete") != std::string::npos);
  CHECK(polylines(result.out).size() == 2);
}

TEST_CASE("axis marks are round and within the axis") {
  CHECK(axis_marks(0, 10, false, 7) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(axis_marks(3, 1003, false, 5) == std::vector<double>{200, 400, 600, 800, 1000});
  CHECK(axis_marks(1, 100, true, 8) == std::vector<double>{1, 2, 5, 10, 20, 50, 100});
  CHECK(axis_marks(1, 1e6, true, 7) == std::vector<double>{1, 10, 100, 1000, 10000, 100000, 1e6});
  const auto [low, high] = GENERATE(std::pair{-3.7, 12.2}, std::pair{1e-9, 3e-9},
                                    std::pair{1e6, 1e6 + 1}, std::pair{-5e8, -1e8});
  const auto marks = axis_marks(low, high, false, 7);
  CAPTURE(low, high);
  CHECK(marks.size() >= 3);
  CHECK(marks.size() <= 12);
  CHECK(marks.front() >= low - 1e-6 * (high - low));
  CHECK(marks.back() <= high + 1e-6 * (high - low));
}

TEST_CASE("numbers on an axis are short") {
  CHECK(axis_text(0) == "0");
  CHECK(axis_text(0.0003) == "0.0003");
  CHECK(axis_text(999) == "999");
  CHECK(axis_text(20000) == "20k");
  CHECK(axis_text(-1500000) == "-1.5M");
}

TEST_CASE("a long curve keeps its peaks and loses its bulk") {
  bench::Chart chart;
  chart.curves.push_back({"long", {}});
  for (int i = 0; i < 200000; ++i)
    chart.curves[0].points.emplace_back(i, i == 77777 ? 100.0 : (i % 2 ? 1.0 : 0.0));
  const auto svg = bench::to_svg(chart);
  CHECK(svg.size() < 100000);
  const auto points = polylines(svg).at(0);
  // 4 % of air above the peak: 402 - 362 * 104 / 108 = 53.4.
  CHECK(points.find(",53.4") != std::string::npos);
}

}  // namespace lact::test
