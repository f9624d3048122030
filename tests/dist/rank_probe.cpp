// One process of several: connects, sums, and does as it is told.
//
//   lact-rank sum      prints "rank R of N: SUM" of all ranks plus one
//   lact-rank sleep    makes READY and hangs, as in a call that never returns
//   lact-rank loop     makes READY, then sums until a peer is lost
//   lact-rank fail     connects and ends by itself
//   lact-rank leave    leaves in good order, late if it is rank 0
//
// $INIT_MS and $TRAIN_MS are the time-outs, $READY a file name before the rank.

#include <lact/dist/connect.hpp>
#include <lact/error.hpp>

#include <ATen/ops/full.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <thread>

using namespace lact;

namespace {

std::chrono::milliseconds milliseconds(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return std::chrono::milliseconds(value != nullptr ? std::atoi(value) : otherwise);
}

void work(const std::string& what) {
  const auto place = dist::place([](const char* name) { return std::getenv(name); });
  dist::ConnectOptions options;
  options.init_timeout = milliseconds("INIT_MS", 20000);
  options.train_timeout = milliseconds("TRAIN_MS", 20000);
  options.lost = [&](int rank) {
    std::fprintf(stderr, "rank %d: rank %d is gone\n", place.rank, rank);
    ::_exit(75);
  };
  const auto connection = dist::connect(place, options);
  const auto& world = connection->world();
  const auto sum = [&] {
    const auto x = at::full({3}, place.rank + 1.0, at::kDouble), y = x.clone();
    world.sum_in_order(x);
    world.all_reduce(y)->wait();
    return x.equal(y) ? x[2].item<double>() : -1;
  };
  const auto ready = [&] {
    const char* name = std::getenv("READY");
    if (name != nullptr) std::ofstream(concat(name, place.rank)) << "ready";
  };
  if (what == "sum")
    std::cout << concat("rank ", place.rank, " of ", place.world, ": ", sum(), "\n");
  if (what == "fail") throw Error(Exit::data, "failed");
  if (what == "sleep") {
    sum();
    ready();
    std::this_thread::sleep_for(std::chrono::minutes(1));
  }
  if (what == "loop") {
    sum();
    ready();
    try {
      for (;;) sum();
    } catch (const dist::PeerLost&) {
      std::this_thread::sleep_for(dist::kNaming);
      throw;
    }
  }
  if (what == "leave" && place.rank == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  connection->leave();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    work(argc > 1 ? argv[1] : "");
    return 0;
  } catch (const Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
