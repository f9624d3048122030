// lact-bench op: its axes, what it counts, what it prints; lists and tables of all that measures.

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/peak_memory.hpp>

#include "../../tools/lact-bench/op_case.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <set>
#include <sstream>
#include <thread>

namespace lact::test {
namespace {

using bench::OpCase;

std::vector<int64_t> numbers(const std::string& text) {
  return cli::parse_numbers(text, "-p");
}

Result op(std::vector<std::string> more) {
  std::vector<std::string> all = {"lact-bench", "op", "--dtype", "float32", "--threads", "1",
                                  "--heads",    "2",  "--width", "16",      "-r",        "2"};
  all.insert(all.end(), more.begin(), more.end());
  return run(all);
}

nlohmann::json rows_of(const Result& result) {
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  return nlohmann::json::parse(result.out);
}

/// A row of the table in spec/llm 13: 24 layers of the 760M model, 32768 tokens, 1e12 each.
OpCase of_760m(const std::string& rule) {
  return {rule, "swiglu", "all", "shifted", "forward", "keep", 4, 384, 384, 2048, 32768};
}

}  // namespace

TEST_CASE("numbers are lists, steps and factors, as llama-bench takes them") {
  using V = std::vector<int64_t>;
  CHECK(numbers("512") == V{512});
  CHECK(numbers("512,1024") == V{512, 1024});
  CHECK(numbers("0-1024+256") == V{0, 256, 512, 768, 1024});
  CHECK(numbers("128-1024*2") == V{128, 256, 512, 1024});
  CHECK(numbers("3-5") == V{3, 4, 5});
  CHECK(numbers("16-1M*256") == V{16, 4096, 1048576});
  CHECK(numbers("2K,1G") == V{2048, 1073741824});
  CHECK(numbers("1,10-30+10,7") == V{1, 10, 20, 30, 7});
  for (const char* bad : {"", "a", "1,", "-5", "1-", "5-1", "0-9*2", "1-9*1", "1-9+0", "1-9x2", "K",
                          "2k", "1KK", "1025G", "0-99999999", "1.5", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(numbers(bad), Error);
  }
}

TEST_CASE("mean and standard deviation are those of the sample") {
  const auto s = cli::spread({2, 4, 4, 4, 5, 5, 7, 9});
  CHECK(s.mean == Approx(5));
  CHECK(s.deviation == Approx(2.1380899));  // sqrt(32 / 7)
  CHECK(cli::spread({3}).deviation == 0);
}

TEST_CASE("numbers with fractions are counted, not added up") {
  const auto reals = [](const std::string& text) { return cli::parse_reals(text, "--state"); };
  CHECK(reals("0.75,1.5") == std::vector<double>{0.75, 1.5});
  CHECK(reals("0.5-12*2") == std::vector<double>{0.5, 1, 2, 4, 8});
  CHECK(reals("0-1+0.1").size() == 11);
  for (const char* bad : {"", "x", "-1", "nan", "inf", "1-0.5", "1-9*1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(reals(bad), Error);
  }
}

TEST_CASE("operations are those of the table in spec/llm 13") {
  const auto momentum = bench::flops_of(of_760m("momentum")),
             muon = bench::flops_of(of_760m("muon"));
  CHECK(24 * momentum.products / 1e12 == Approx(2.78 + 5.22).epsilon(0.002));
  CHECK(momentum.newton_schulz == 0);
  CHECK(muon.products == momentum.products);
  CHECK(24 * muon.newton_schulz / 1e12 == Approx(7.34).epsilon(0.002));
  auto both = of_760m("muon");
  both.pass = "both";
  CHECK(bench::flops_of(both).products == 3 * muon.products);
  CHECK(bench::flops_of(both).newton_schulz == 3 * muon.newton_schulz);
  // Sets learn all their tokens, once: 18 D F a token and head, and one orthogonalization.
  OpCase set = of_760m("muon");
  set.schedule = "bidirectional";
  CHECK(bench::flops_of(set).products == 4.0 * 32768 * 18 * 384 * 384);
  CHECK(bench::flops_of(set).newton_schulz == 4.0 * 90 * 384 * 384 * 384);
  set.function = "linear";
  CHECK(bench::flops_of(set).products == 4.0 * 32768 * 4 * 384 * 384);
}

TEST_CASE("a state in squares of the model's width is three matrices a head") {
  CHECK(of_760m("gd").state() == 0.75);
  CHECK(bench::hidden_of(0.75, 4, 384) == 384);
  CHECK(bench::hidden_of(12, 4, 384) == 6144);
  CHECK(bench::hidden_of(3, 1, 256) == 256);
  CHECK_THROWS_AS(bench::hidden_of(0.001, 1, 256), Error);
}

TEST_CASE("peak memory is the most that was held at a time") {
  const auto megabytes = [](int64_t count) { return at::empty({count << 20}, at::kByte); };
  const auto before = megabytes(7);
  const auto peak = ops::peak_bytes(at::kCPU, [&] {
    const auto a = megabytes(1);
    { const auto b = megabytes(4); }
    const auto c = megabytes(2);
  });
  REQUIRE(peak.has_value());
  CHECK(*peak == int64_t{5} << 20);
  // What other threads take counts too, and what is held beyond the end is held.
  at::Tensor held;
  CHECK(ops::peak_bytes(at::kCPU, [&] { std::thread([&] { held = megabytes(3); }).join(); }) ==
        int64_t{3} << 20);
  held.resize_({1 << 23});
  CHECK(held.nbytes() == 1 << 23);
  // oneDNN takes memory in its own way.
  at::Tensor product;
  const auto a = at::ones({512, 512}, at::kBFloat16);
  const auto taken = ops::peak_bytes(at::kCPU, [&] { product = at::matmul(a, a); });
  REQUIRE(taken.has_value());
  CHECK(*taken >= static_cast<int64_t>(product.nbytes()));
  CHECK(product[0][0].item<float>() == 512);
}

TEST_CASE("what a pass asked for is not extra memory, what it needs meanwhile is") {
  // Tokens are read in tiles: with a longer text the output grows, what is needed beside it does
  // not.
  const auto reading = [](int64_t length) {
    return OpCase{"gd", "linear", "all", "shifted", "forward", "keep", 2, 16, 16, length, length};
  };
  const auto extra_of = [](const OpCase& one) {
    const auto bytes = bench::OpInputs(one, at::kCPU, at::kFloat, 1).run(true).extra_bytes;
    REQUIRE(bytes.has_value());
    return *bytes;
  };
  CHECK(extra_of(reading(65536)) - extra_of(reading(16384)) < 2 * (65536 - 16384) * 16 * 4 / 2);
  const OpCase learning{"gd", "swiglu", "all", "chunk-causal", "both", "keep", 2, 16, 64, 64, 256};
  CHECK(extra_of(learning) > 2 * 64 * 64 * 4);  // one chunk's hidden vectors at least
  CHECK_FALSE(bench::OpInputs(learning, at::kCPU, at::kFloat, 1).run(false).extra_bytes);
}

TEST_CASE("a chunk is learned in memory that does not grow with it, when nothing is kept") {
  const std::string rule = GENERATE("momentum", "muon");
  const auto extra_of = [&](const char* mode, int64_t chunk) {
    const OpCase one{rule, "swiglu", "all", "bidirectional", "both", mode, 1, 64, 64, chunk, chunk};
    return bench::OpInputs(one, at::kCPU, at::kFloat, 1).run(true).extra_bytes.value();
  };
  const auto small = extra_of("recompute", 8192), large = extra_of("recompute", 65536);
  CAPTURE(rule, small, large);
  CHECK(large - small < 1 << 16);
  CHECK(small < 16 << 20);
  // The other mode keeps five vectors of the hidden width for each token.
  CHECK(extra_of("keep", 65536) - extra_of("keep", 8192) >= (65536 - 8192) * 5 * 64 * 4);
}

TEST_CASE("every combination of the axes has a row, and its figures follow from its samples") {
  const auto rows =
      rows_of(op({"--rule", "gd,muon", "--pass", "forward", "--pass", "both", "--chunk", "8,32",
                  "--state", "1.5,3", "--length", "200", "--json"}));
  REQUIRE(rows.size() == 16);
  std::set<std::string> kinds;
  for (const auto& row : rows) {
    const auto number = [&](const char* key) { return row.at(key).get<double>(); };
    kinds.insert(row.at("rule").get<std::string>() + row.at("pass").get<std::string>() +
                 row.at("chunk").dump() + row.at("hidden").dump());
    CHECK(number("state") == Approx(number("hidden") / 16 * 1.5));
    CHECK(number("length") == 200);
    REQUIRE(row.at("samples_seconds").size() == 2);
    REQUIRE(row.at("samples_ceiling").size() == 3);
    double used = 0;
    for (size_t i = 0; i < 2; ++i) {
      const double ceiling = (row.at("samples_ceiling")[i].get<double>() +
                              row.at("samples_ceiling")[i + 1].get<double>()) /
                             2;
      used += number("flops") / row.at("samples_seconds")[i].get<double>() / ceiling * 100 / 2;
    }
    CHECK(number("utilisation_percent") == Approx(used).epsilon(1e-3));
    CHECK(number("utilisation_percent") < 100);
    CHECK((number("newton_schulz_flops") > 0) == (row.at("rule") == "muon"));
    CHECK(number("extra_bytes") > 0);
  }
  CHECK(kinds.size() == 16);
}

TEST_CASE("each form has its rows as they come; columns that nobody asked for are left out") {
  const auto table = op({"--chunk", "16,32", "--length", "64", "--no-warmup"}).out;
  CHECK(std::count(table.begin(), table.end(), '\n') == 4);
  CHECK(table.find("NS GFLOP") == std::string::npos);
  CHECK(table.find("schedule") == std::string::npos);
  const auto wide = op({"--length", "64", "--rule", "muon", "--schedule", "bidirectional"}).out;
  CHECK(wide.find("NS GFLOP") != std::string::npos);
  CHECK(wide.find("bidirectional") != std::string::npos);
  const auto csv = op({"--length", "64", "-o", "csv"}).out;
  std::istringstream lines(csv);
  std::string names, values;
  std::getline(lines, names);
  std::getline(lines, values);
  CHECK(std::count(names.begin(), names.end(), ',') ==
        std::count(values.begin(), values.end(), ','));
}

TEST_CASE("utilisation over chunks is one command and one picture") {
  const auto rows = op({"--chunk", "8-512*4", "--rule", "gd,momentum", "--pass", "forward", "-r",
                        "1", "-o", "jsonl"});
  const auto svg = run({"lact-bench", "plot", "-"}, rows.out).out;
  for (const char* text :
       {">chunk (tokens)<", ">of the product rate (%)<", ">gd<", ">momentum<", ">8<", ">512<"})
    CHECK(svg.find(text) != std::string::npos);
  // Equal factors are equal steps: 8, 32, 128 and 512 over 78 to 740.
  for (const char* x : {"\"78,", " 298.7,", " 519.3,", " 740,"})
    CHECK(svg.find(x) != std::string::npos);
}

TEST_CASE("what cannot be measured is refused") {
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"--chunk", "0"},
                                              {"--chunk", "x"},
                                              {"--rule", "sgd"},
                                              {"--state", "0.0001"},
                                              {"--pass", "backward"},
                                              {"--schedule", "strided"}})
    CHECK(op(bad).exit == 64);
}

TEST_CASE("an interrupt ends between runs, with whole rows on stdout") {
  Process process({"lact-bench", "op", "--threads", "1", "--dtype", "float32", "--heads", "1",
                   "--width", "16", "--chunk", "16,32", "-r", "1000000", "-o", "jsonl"});
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  process.signal(SIGINT);
  const auto result = process.wait(std::chrono::seconds(60));
  CHECK(result.exit == 128 + SIGINT);
  CHECK(result.out == "");
}

}  // namespace lact::test
