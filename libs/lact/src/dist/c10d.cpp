// The one file that knows c10d's headers.
#include "meeting.hpp"

#include <lact/dist/connect.hpp>
#include <lact/error.hpp>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Logging.h>

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

namespace lact::dist {
namespace {

using at::Tensor;
using c10::intrusive_ptr;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kForever = std::chrono::hours(24 * 365);
constexpr milliseconds kDisk = std::chrono::hours(1);
constexpr milliseconds kPoll{50};
constexpr milliseconds kJoin{30000};  // a store that listens; c10d tries it again and again
constexpr milliseconds kWord{2000};   // for a busy machine to deliver a last word

/// c10d ends whatever goes wrong between processes in an exception of its own kinds.
template <class Call>
auto heard(const Call& call) {
  const auto lost = [](std::string what) {
    return PeerLost(
        concat("another process of this run is gone or silent: ", what.substr(0, what.find('\n'))));
  };
  try {
    return call();
  } catch (const c10::Error& error) {
    throw lost(error.what_without_backtrace());
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw lost(error.what());
  }
}

class Underway final : public Pending {
 public:
  explicit Underway(intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
  void wait() override {
    heard([&] { return work_->wait(); });
  }

 private:
  intrusive_ptr<c10d::Work> work_;
};

/// Of all, or of some: then rank and size are those among them.
intrusive_ptr<c10d::ProcessGroupGloo> gloo(const intrusive_ptr<c10d::Store>& store,
                                           const Place& place, const ConnectOptions& options,
                                           milliseconds timeout, int rank, int size) {
  using Gloo = c10d::ProcessGroupGloo;
  auto how = Gloo::Options::create(options.init_timeout);
  how->devices.push_back(
      !options.interface.empty()         ? Gloo::createDeviceForInterface(options.interface)
      : place.local_world == place.world ? Gloo::createDeviceForHostname("127.0.0.1")
                                         : Gloo::createDefaultDevice());
  how->threads = 2;
  auto group = heard([&] { return c10::make_intrusive<Gloo>(store, rank, size, how); });
  group->setTimeout(timeout);
  return group;
}

class GlooGroup final : public Group {
 public:
  explicit GlooGroup(intrusive_ptr<c10d::ProcessGroupGloo> group) : group_(std::move(group)) {}

  int rank() const override { return group_->getRank(); }
  int size() const override { return group_->getSize(); }
  Work all_reduce(const Tensor& x, Op op) const override {
    std::vector<Tensor> tensors{x};
    c10d::AllreduceOptions options;
    options.reduceOp = op == Op::sum   ? c10d::ReduceOp::SUM
                       : op == Op::min ? c10d::ReduceOp::MIN
                                       : c10d::ReduceOp::MAX;
    return begin([&] { return group_->allreduce(tensors, options); });
  }
  Work all_gather(const Tensor& out, const Tensor& in) const override {
    auto to = out.view(-1), from = in.view(-1);
    return begin([&] { return group_->_allgather_base(to, from); });
  }
  Work all_to_all(const Tensor& out, const Tensor& in) const override {
    auto to = out, from = in;
    std::vector<int64_t> equal_to, equal_from;
    return begin([&] { return group_->alltoall_base(to, from, equal_to, equal_from); });
  }
  Work broadcast(const Tensor& x, int from) const override {
    std::vector<Tensor> tensors{x};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    return begin([&] { return group_->broadcast(tensors, options); });
  }
  void barrier() const {
    heard([&] { return group_->barrier()->wait(); });
  }

 private:
  template <class Call>
  Work begin(const Call& call) const {
    return std::make_unique<Underway>(heard(call));
  }

  intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

/// Waits for a word from the next rank that never comes: where its connection breaks, or it passes
/// on who is gone, the rank before hears it, and so all round the ring.
class Alarm {
 public:
  Alarm(intrusive_ptr<c10d::ProcessGroupGloo> group, std::function<void(int)> lost)
      : group_(std::move(group)), lost_(std::move(lost)), word_{at::zeros({1}, at::kLong)} {
    const int size = group_->getSize();
    next_ = (group_->getRank() + 1) % size;
    before_ = (group_->getRank() + size - 1) % size;
    receiving_ = heard([&] { return group_->recv(word_, next_, 0); });
    thread_ = std::thread([this] { watch(); });
  }
  ~Alarm() {
    stop();
    receiving_->abort();
    thread_.join();
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  void stop() { stopped_ = true; }

 private:
  int gone() {
    try {
      receiving_->wait();
      return static_cast<int>(word_[0].item<int64_t>());
    } catch (const std::exception&) {  // the connection
      return next_;
    }
  }
  void tell(int gone) {
    try {
      std::vector<Tensor> word{at::full({1}, gone, at::kLong)};
      group_->send(word, before_, 0)->wait(kWord);
    } catch (const std::exception&) {  // gone too
    }
  }
  void watch() {
    const int gone = this->gone();
    if (stopped_) return;
    if (gone != before_) tell(gone);
    if (lost_) lost_(gone);
  }

  intrusive_ptr<c10d::ProcessGroupGloo> group_;
  std::function<void(int)> lost_;
  std::vector<Tensor> word_;
  intrusive_ptr<c10d::Work> receiving_;
  int next_ = 0, before_ = 0;
  std::atomic<bool> stopped_ = false;
  std::thread thread_;
};

intrusive_ptr<c10d::Store> store_of(const Place& place, const ConnectOptions& options) {
  c10d::TCPStoreOptions how;
  how.port = place.port;
  how.timeout = std::min(options.init_timeout, kJoin);
  how.waitWorkers = false;
  how.isServer = place.rank == 0 && !place.their_store;
  if (how.isServer)
    how.masterListenFd = listen_at(place);
  else
    wait_for_listener(place, options.init_timeout);
  auto store = heard([&] { return c10::make_intrusive<c10d::TCPStore>(place.host, how); });
  store->setTimeout(options.init_timeout);
  // torchrun's store outlives an attempt, whose keys must not meet the next one's.
  return c10::make_intrusive<c10d::PrefixStore>(concat("lact/", place.attempt), store);
}

/// All are here, or those that are not are named.
void call_roll(c10d::Store& store, const Place& place, const ConnectOptions& options) {
  const auto key = [](int rank) { return concat("here/", rank); };
  heard([&] {
    store.set(key(place.rank), std::string("here"));
    return true;
  });
  std::vector<std::string> keys;
  for (int rank = 0; rank < place.world; ++rank) keys.push_back(key(rank));
  const auto deadline = Clock::now() + options.init_timeout;
  while (!heard([&] { return store.check(keys); })) {
    if (Clock::now() < deadline) {
      std::this_thread::sleep_for(kPoll);
      continue;
    }
    std::string missing;
    for (int rank = 0; rank < place.world; ++rank)
      if (!heard([&] { return store.check({key(rank)}); }))
        missing += concat(missing.empty() ? "" : ", ", rank);
    throw PeerLost(concat("of ", place.world, " processes these ranks did not come within ",
                          options.init_timeout.count() / 1000, " s: ", missing));
  }
}

class Connected final : public Connection {
 public:
  Connected(const Place& place, const ConnectOptions& options)
      : place_(place), options_(options), store_(store_of(place, options)) {
    call_roll(*store_, place, options);
    const auto all = [&](const char* name, milliseconds timeout) {
      return gloo(under(name), place, options, timeout, place.rank, place.world);
    };
    world_.emplace(all("world", options.train_timeout));
    files_.emplace(all("files", kDisk));
    alarm_.emplace(all("alarm", kForever), options.lost);
  }

  const Group& world() const override { return *world_; }
  const Group& files() const override { return *files_; }
  std::unique_ptr<Group> neighbours(int count) const override {
    const int first = place_.rank / count * count;
    return part(first, place_.rank - first, count);
  }
  std::unique_ptr<Group> counterparts(int count) const override {
    return part(place_.rank % count, place_.rank / count, place_.world / count);
  }
  void leave() override {
    alarm_->stop();
    world_->barrier();
  }

 private:
  intrusive_ptr<c10d::Store> under(const std::string& name) const {
    return c10::make_intrusive<c10d::PrefixStore>(name, store_);
  }
  /// Those whose lowest rank is `first`. All processes make their parts at the same call, whose
  /// number tells two with the same members apart.
  std::unique_ptr<Group> part(int first, int rank, int size) const {
    return std::make_unique<GlooGroup>(gloo(under(concat("part ", ++parts_, " from ", first)),
                                            place_, options_, options_.train_timeout, rank, size));
  }

  const Place place_;
  const ConnectOptions options_;
  intrusive_ptr<c10d::Store> store_;
  std::optional<GlooGroup> world_, files_;
  std::optional<Alarm> alarm_;
  mutable int parts_ = 0;
};

class Alone final : public Connection {
 public:
  const Group& world() const override { return *group_; }
  const Group& files() const override { return *group_; }
  std::unique_ptr<Group> neighbours(int /*count*/) const override { return alone(); }
  std::unique_ptr<Group> counterparts(int /*count*/) const override { return alone(); }
  void leave() override {}

 private:
  std::unique_ptr<Group> group_ = alone();
};

}  // namespace

Connection::~Connection() = default;

std::unique_ptr<Connection> connect(const Place& place, const ConnectOptions& options) {
  if (place.world == 1) return std::make_unique<Alone>();
  if (!options.interface.empty()) require_interface(options.interface);
  // Gloo writes to sockets whose peer may be gone; who prints to a closed pipe sees it anyway.
  ::signal(SIGPIPE, SIG_IGN);
  // What c10d has to say it says in exceptions; its log is for those who ask for it.
  ::setenv("TORCH_CPP_LOG_LEVEL", "FATAL", /*overwrite=*/0);
  c10::initLogging();
  return std::make_unique<Connected>(place, options);
}

}  // namespace lact::dist
