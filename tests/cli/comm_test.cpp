// lact-bench comm: the line it fits, and what it prints as several processes.

#include "../../tools/lact-bench/comm_fit.hpp"
#include "support/launch.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <csignal>
#include <map>
#include <sstream>
#include <thread>

namespace lact::test {
namespace {

using bench::CommTime;
using Words = Launch::Words;

/// A millisecond a call, 2 GB/s.
double on_the_line(double bytes) {
  return 1e-3 + bytes / 2e9;
}

Words comm(const Words& more) {
  Words words{"lact-bench", "comm", "--device", "cpu", "--dtype", "float32", "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// What rank 0 prints; the others print nothing.
std::string printed(int world, const Words& words) {
  const auto results = Launch(world, words).wait();
  for (size_t rank = 0; rank < results.size(); ++rank) {
    CAPTURE(world, rank, results[rank].err);
    REQUIRE(results[rank].exit == 0);
    CHECK(results[rank].err.empty());
    if (rank > 0) CHECK(results[rank].out.empty());
  }
  return results[0].out;
}

}  // namespace

TEST_CASE("a fit finds the latency and the rate that made the times") {
  std::vector<CommTime> times;
  for (double bytes = 1024; bytes < 1e9; bytes *= 4) times.push_back({bytes, on_the_line(bytes)});
  const auto line = bench::fit(times);
  REQUIRE(line);
  CHECK(line->latency == Approx(1e-3));
  CHECK(1 / line->per_byte == Approx(2e9));
  REQUIRE(line->largest_error);
  CHECK(*line->largest_error < 1e-9);
}

TEST_CASE("every second size is left out of a fit and judges it, the first and the last never") {
  const auto fit_of = [](size_t count, size_t slow) {
    std::vector<CommTime> times;
    for (size_t i = 0; i < count; ++i) {
      const double bytes = std::pow(10, static_cast<double>(i));
      times.push_back({bytes, on_the_line(bytes) * (i == slow ? 4 : 1)});
    }
    return bench::fit(times);
  };
  for (const size_t count : {3, 4, 5, 6, 7}) {
    for (size_t slow = 0; slow < count; ++slow) {
      CAPTURE(count, slow);
      const auto line = fit_of(count, slow);
      const bool left_out = slow % 2 == 1 && slow + 1 < count;
      CHECK(bench::left_out(slow, count) == left_out);
      // One that is left out changes no line, and is off by three quarters of its time.
      CHECK((std::abs(line->latency - 1e-3) < 1e-9) == left_out);
      if (left_out) CHECK(*line->largest_error == Approx(0.75));
    }
  }
  CHECK_FALSE(fit_of(2, 9)->largest_error);
  CHECK(fit_of(2, 9)->latency == Approx(1e-3));
  CHECK_FALSE(fit_of(1, 9));
}

TEST_CASE("a small time weighs in a fit as much as a large one") {
  // The large ones are off by a tenth, up and down: by absolute errors the latency were 8 ms.
  const auto line = bench::fit({{1e2, 1e-3}, {1e3, 1e-3}, {1e8, 5.6e-2}, {5e8, 0.25}, {1e9, 0.45}});
  REQUIRE(line);
  CHECK(line->latency == Approx(1e-3).epsilon(0.01));
  CHECK(line->per_byte == Approx(5e-10).epsilon(0.1));
}

TEST_CASE("of a fit twice the time is as wrong as half of it") {
  // Times that no line meets; their best line by trying all of them, to half a percent.
  const std::vector<CommTime> times{{1024, 187e-6},   {4096, 1},    {16384, 196e-6},    {65536, 1},
                                    {262144, 219e-6}, {1 << 20, 1}, {4194304, 31270e-6}};
  const auto error = [&](double latency, double per_byte) {
    double sum = 0;
    for (size_t i = 0; i < times.size(); i += 2)
      sum += std::pow(std::log((latency + times[i].bytes * per_byte) / times[i].seconds), 2);
    return sum;
  };
  double best = 1e9;
  for (double latency = 1e-5; latency < 1e-2; latency *= 1.005)
    for (double per_byte = 1e-11; per_byte < 1e-7; per_byte *= 1.005)
      best = std::min(best, error(latency, per_byte));
  const auto line = bench::fit(times);
  REQUIRE(line);
  CHECK(error(line->latency, line->per_byte) <= best);
}

TEST_CASE("two and three processes measure every collective at every size, and a fit follows") {
  const int world = GENERATE(2, 3);
  CAPTURE(world);
  const auto rows =
      nlohmann::json::parse(printed(world, comm({"--size", "1K-1M*32,32M", "-r", "3", "--json"})));
  std::map<std::string, std::vector<CommTime>> times;
  for (const auto& row : rows) {
    const auto number = [&](const char* key) { return row.at(key).get<double>(); };
    const auto name = row.at("collective").get<std::string>();
    CAPTURE(name, number("bytes"));
    CHECK(row.at("processes") == world);
    CHECK(row.at("bytes").get<int64_t>() % (4 * world) == 0);
    const auto samples = row.at("samples_seconds").get<std::vector<double>>();
    REQUIRE(samples.size() == 3);
    double least = samples[0], sum = 0;
    for (const double one : samples) {
      CHECK(one > 0);
      sum += one;
      least = std::min(least, one);
    }
    CHECK(number("avg_seconds") == Approx(sum / 3));
    CHECK(number("fastest_seconds") == least);
    CHECK(number("bytes_per_second") == Approx(number("bytes") / number("fastest_seconds")));
    times[name].push_back({number("bytes"), number("fastest_seconds")});
    CHECK(row.at("left_out_of_fit") == (times[name].size() == 2));
    // The ordered sum has no part in the background.
    if (name == "fixed") CHECK(row.at("hidden_percent").is_null());
    if (name != "fixed" && number("bytes") > 2e7) {
      const double hidden = number("hidden_percent");
      CHECK(hidden == Approx(100 - 100 * (number("both_seconds") - number("product_seconds")) /
                                       number("fastest_seconds")));
      CHECK(hidden < 100 + 100 * number("product_seconds") / number("fastest_seconds"));
    }
  }
  CHECK(times.size() == 4);
  for (const auto& [name, points] : times) {
    CAPTURE(name);
    REQUIRE(points.size() == 4);
    for (size_t i = 0; i < 4; ++i) {
      const double least = 4.0 * world,
                   size = std::vector<double>{1024, 32768, 1 << 20, 32 << 20}[i];
      CHECK(points[i].bytes == std::ceil(size / least) * least);
    }
    const auto line = bench::fit(points);
    for (const auto& row : rows) {
      if (row.at("collective") != name) continue;
      CHECK(row.at("fit_latency_seconds").get<double>() == Approx(line->latency));
      CHECK(row.at("fit_seconds_per_byte").get<double>() == Approx(line->per_byte));
      CHECK(row.at("fit_largest_error_percent").get<double>() ==
            Approx(100 * *line->largest_error));
    }
  }
}

TEST_CASE("one collective at two sizes is a table of two rows and a line that nothing judges") {
  const auto table =
      printed(2, comm({"--collective", "all_reduce", "--size", "4K,1M,4K", "-r", "1"}));
  CHECK(std::count(table.begin(), table.end(), '\n') == 6);  // title, rule, rows, empty, line
  CHECK_THAT(table, Catch::Contains("\nall_reduce: ") && Catch::EndsWith(" GB/s\n") &&
                        !Catch::Contains("left out"));
  const auto csv = printed(2, comm({"--collective", "all_reduce", "--size", "4K", "-r", "1",
                                    "--no-warmup", "-o", "csv"}));
  std::istringstream lines(csv);
  std::string names, values;
  std::getline(lines, names);
  std::getline(lines, values);
  CHECK(std::count(names.begin(), names.end(), ',') ==
        std::count(values.begin(), values.end(), ','));
  CHECK_THAT(values, Catch::Contains(",2,all_reduce,4096,1,"));
}

TEST_CASE("what comm cannot measure is one line and 64") {
  const auto alone = run(comm({}));
  CHECK(alone.exit == 64);
  CHECK(alone.out.empty());
  CHECK(alone.err ==
        "lact-bench: error: measures between processes, and here is one; start several by "
        "torchrun, srun, mpirun or mpiexec\n");
  for (const Words& bad :
       {Words{"--size", "0"}, {"--size", "4k"}, {"--collective", "scatter"}, {"-r", "0"}}) {
    for (const auto& result : Launch(2, comm(bad)).wait()) {
      CAPTURE(result.err);
      CHECK(result.exit == 64);
      CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    }
  }
}

TEST_CASE("a signal to one process ends the measuring of all") {
  Launch launch(2, comm({"--size", "4K", "-r", "1000000"}));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  launch.processes[1]->signal(SIGTERM);
  for (const auto& result : launch.wait()) {
    CAPTURE(result.err);
    CHECK(result.exit == 128 + SIGTERM);
    CHECK(result.out.empty());
  }
}

}  // namespace lact::test
