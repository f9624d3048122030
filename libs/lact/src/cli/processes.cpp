#include <lact/cli/agreement.hpp>
#include <lact/cli/processes.hpp>
#include <lact/log.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace lact::cli {
namespace {

using std::chrono::seconds;

// Every message begins with what it is.
constexpr char kPart = '+', kFailed = '!', kSignal = 's';
/// For a thread that works to notice by itself that somebody is gone, and to clean up.
constexpr seconds kGrace{5};

dist::Place here() {
  return dist::place([](const char* name) { return std::getenv(name); });
}

/// What became of a rank's work; a loss of others goes on.
std::string outcome(const std::function<void()>& work) {
  try {
    work();
    return {kPart};
  } catch (const dist::PeerLost&) {
    throw;
  } catch (const Error& error) {
    return concat(kFailed, static_cast<int>(error.code()), ":", error.what());
  } catch (const Interrupted&) {
    return concat(kSignal, stop_signal());
  }
}

/// Ends as another rank does, which has told why.
[[noreturn]] void end_as(const std::string& told) {
  const int number = std::atoi(told.c_str() + 1);
  if (told[0] == kFailed) throw Error(static_cast<Exit>(number), told.substr(told.find(':') + 1));
  if (!stop_requested()) ::raise(number);
  throw Interrupted();
}

}  // namespace

/// What the first rank has told that cannot go on.
struct Processes::Told {
  std::string message;
};

void declare_comm(Options options, int64_t& init_seconds, int64_t& silent_seconds,
                  std::string& interface) {
  options
      .add("--comm-init-timeout-seconds", init_seconds,
           "with several processes: how long they wait for all to come")
      .range(1, 1 << 20);
  options
      .add(
          "--comm-train-timeout-seconds", silent_seconds,
          "with several processes: how long one that is silent is waited for, whatever it computes "
          "or writes alone")
      .range(1, 1 << 20);
  options
      .add("--comm-interface", interface,
           "network interface between machines, by its name on this one (default: that of the host "
           "name)")
      .value("NAME");
}

void require_one_process(const std::string& what) {
  const auto place = here();
  if (place.world > 1)
    throw Error(Exit::unavailable, what, ": is one process, and here are ", place.world, " (",
                place.launcher, "); start it once, or without the launcher's variables");
}

void Processes::declare(Options options) {
  declare_comm(options.group("Processes"), init_seconds_, silent_seconds_, interface_);
}

void Processes::run(Context& context, const std::function<void()>& work) {
  place_ = here();
  if (size() == 1) return work();
  if (!chief()) log::set_level(log::Level::error);
  connection_ = dist::connect(place_, how_to_connect());
  const std::shared_ptr<void> ended(nullptr, [this](void*) {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  });
  std::string told;
  try {
    try {
      const auto mine = outcome([&] {
        settle(context);
        work();
      });
      exchange(mine);
    } catch (const Told& first) {
      told = first.message;
    }
    connection_->leave();
  } catch (const dist::PeerLost& error) {
    if (told.empty()) miss(error);
  }
  if (!told.empty()) end_as(told);
}

dist::ConnectOptions Processes::how_to_connect() {
  dist::ConnectOptions how;
  how.init_timeout = seconds(init_seconds_);
  how.train_timeout = seconds(silent_seconds_);
  how.interface = interface_;
  how.lost = [this](int rank) {
    std::unique_lock lock(mutex_);
    lost_ = rank;
    changed_.notify_all();
    if (changed_.wait_for(lock, kGrace, [this] { return ending_; })) return;
    log::write(log::Level::error, concat("error: ", who_is_gone()));
    ::_exit(static_cast<int>(Exit::stopped));
  };
  return how;
}

std::string Processes::who_is_gone() const {
  return concat("rank ", lost_, " of ", size(), " is gone");
}

/// Somebody is gone or silent: who, the alarm knows, unless everyone is silent.
void Processes::miss(const dist::PeerLost& error) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, dist::kNaming, [this] { return lost_ >= 0; }))
    throw dist::PeerLost(who_is_gone());
  throw error;
}

void Processes::settle(Context& context) {
  require_same(common_lines(context.resolved_config), "options");
  const auto seed = gather(context.seed ? std::to_string(*context.seed) : "")[0];
  if (!seed.empty()) context.seed = std::strtoull(seed.c_str(), nullptr, 10);
}

std::vector<std::string> Processes::exchange(const std::string& message) const {
  auto all = connection_->world().gather(message);
  for (const auto& one : all)
    if (one[0] != kPart) throw Told{one};
  for (auto& one : all) one.erase(0, 1);
  return all;
}

std::vector<std::string> Processes::gather(const std::string& mine) const {
  if (size() == 1) return {mine};
  return exchange(kPart + mine);
}

void Processes::sum(const std::vector<at::Tensor>& parts) const {
  if (size() == 1) return;
  gather({});  // all have come this far
  connection_->world().sum(parts);
}

void Processes::in_order(int64_t count, int64_t at_a_time,
                         const std::function<std::string(int64_t)>& make,
                         const std::function<void(int64_t, const std::string&)>& use) const {
  const int64_t ranks = size(), turns = ranks == 1 ? 1 : at_a_time;
  for (int64_t first = 0; first < count; first += ranks * turns) {
    const int64_t end = std::min(count, first + ranks * turns);
    std::string mine;  // parts one after another, each behind its size
    for (int64_t part = first + rank(); part < end; part += ranks) {
      if (stop_requested()) throw Interrupted();
      const auto made = make(part);
      mine += to_bytes(std::vector<size_t>{made.size()}) + made;
    }
    const auto all = gather(mine);
    if (!chief()) continue;
    std::vector<size_t> read(all.size());
    for (int64_t part = first; part < end; ++part) {
      const auto rank = static_cast<size_t>((part - first) % ranks);
      const auto size = from_bytes<size_t>(all[rank].substr(read[rank], sizeof(size_t)))[0];
      use(part, all[rank].substr(read[rank] + sizeof size, size));
      read[rank] += sizeof size + size;
    }
  }
}

bool Processes::stopping(bool here) const {
  const bool asked = stop_requested();
  if (size() == 1) return here || asked;
  bool all = false;
  for (const auto& rank : gather(to_bytes(std::vector<int>{here, stop_signal()}))) {
    const auto values = from_bytes<int>(rank);
    all = all || values[0] != 0 || values[1] != 0;
    if (values[1] != 0 && stop_signal() == 0) ::raise(values[1]);
  }
  return all;
}

std::string to_bytes(const at::Tensor& x) {
  const auto here = x.to(at::kCPU).contiguous();
  return {static_cast<const char*>(here.const_data_ptr()), here.nbytes()};
}

at::Tensor from_bytes(const std::string& bytes, at::ScalarType type, at::IntArrayRef shape) {
  auto x = at::empty(shape, type);
  if (x.nbytes() != bytes.size())
    throw Error(Exit::internal, "bytes: expected ", x.nbytes(), ", found ", bytes.size());
  if (!bytes.empty()) std::memcpy(x.mutable_data_ptr(), bytes.data(), bytes.size());
  return x;
}

void Processes::require_same(const std::string& mine, const char* what) const {
  cli::require_same(gather(mine), what);
}

void Processes::require_file(const std::string& file, const char* option) const {
  if (file == "-" && size() > 1)
    throw Error(Exit::usage, option, " -: each of ", size(),
                " processes has a stdin of its own; give a file");
}

}  // namespace lact::cli
