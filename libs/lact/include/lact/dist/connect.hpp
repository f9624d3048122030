#pragma once
// How the processes of a run meet, over PyTorch's own engine (c10d: TCPStore, Gloo).

#include <lact/dist/group.hpp>
#include <lact/dist/place.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace lact::dist {

/// Who only knows that somebody is gone or silent waits so long for `lost` to say who.
constexpr std::chrono::seconds kNaming{1};

struct ConnectOptions {
  std::chrono::milliseconds init_timeout = std::chrono::seconds(300);   ///< until all are there
  std::chrono::milliseconds train_timeout = std::chrono::seconds(100);  ///< of one collective
  std::string interface;  ///< network interface of this machine; "": that of its host name
  /// Called from a thread of its own as soon as a peer is gone, even while all others hang in
  /// their own work. It should end the process.
  std::function<void(int rank)> lost;
};

/// The run's processes, connected. Without leave() its end is a loss to the others.
class Connection {
 public:
  virtual ~Connection();
  virtual const Group& world() const = 0;
  /// The same processes, for who writes checkpoints, on a thread of its own if need be. Its
  /// collectives wait long for a slow disk; that a peer is gone, the watch knows.
  virtual const Group& files() const = 0;
  /// This process and its neighbours: ranks k count to (k + 1) count - 1, for the k that has it.
  /// All processes ask for it, and `count` divides their number.
  virtual std::unique_ptr<Group> neighbours(int count) const = 0;
  /// Those that have the same place among their `count` neighbours as this process, itself among
  /// them. Asked for as neighbours() is.
  virtual std::unique_ptr<Group> counterparts(int count) const = 0;
  /// Waits for all and ends the watch over them: from here on nobody is missed.
  virtual void leave() = 0;
};

/// Rank 0 serves the store at place.host, on that address alone, unless torchrun's agent does. It
/// has no password: who reaches it can disturb the run.
/// Errors   75 naming the ranks that did not come in time, or a port that is taken; 78 a host that
/// is not there, or not this machine's; 69 an interface that is not; a place of one process
/// connects to nobody
std::unique_ptr<Connection> connect(const Place& place, const ConnectOptions& options);

}  // namespace lact::dist
