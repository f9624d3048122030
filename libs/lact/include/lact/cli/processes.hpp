#pragma once
// A verb that several processes share: they meet where a launcher started them, each makes some
// parts of the work, and rank 0 alone prints and writes, in order. One process meets nobody: no
// socket, no thread.

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/dist/connect.hpp>

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

namespace lact::cli {

/// --comm-init-timeout-seconds, --comm-train-timeout-seconds, --comm-interface: by them a command
/// says that several processes may share it; all others are refused (require_one_process).
void declare_comm(Options options, int64_t& init_seconds, int64_t& silent_seconds,
                  std::string& interface);

/// For what only one process can do. `what`: "lact-tokenize text train".
/// Errors   69 where a launcher started several
void require_one_process(const std::string& what);

class Processes {
 public:
  void declare(Options options);

  /// Where a launcher started several processes, meets the others, does the work on all, leaves.
  /// Rank 0's seed is everyone's, and ranks above 0 print nothing but errors.
  ///
  /// What goes wrong on one of them, or a signal to one, is heard by all at their next gather() or
  /// sum(), and ends them with the same line and code.
  /// Errors   75 naming a process that is gone, 78 for other options than rank 0's
  void run(Context& context, const std::function<void()>& work);

  int rank() const { return place_.rank; }
  int size() const { return place_.world; }
  /// Who prints and writes.
  bool chief() const { return place_.rank == 0; }

  /// All of them, for calls of one's own; only where there are several, and while run() works.
  const dist::Group& group() const { return connection_->world(); }
  /// What each rank has, to all. All make the same calls in the same order.
  std::vector<std::string> gather(const std::string& mine) const;
  /// Each tensor's sum over all ranks, in place (dist::Group::sum); a call like gather().
  void sum(const std::vector<at::Tensor>& parts) const;
  /// Every part of the work is made, part i by rank i mod size(), and on rank 0 used in order, as
  /// in one process. `at_a_time`: parts that a rank makes before all exchange what they have; more
  /// of them suit parts that are small, or differ in size.
  void in_order(int64_t count, int64_t at_a_time, const std::function<std::string(int64_t)>& make,
                const std::function<void(int64_t, const std::string&)>& use) const;
  /// Something asks here to stop, or a signal anywhere does: then there has been one here, too.
  bool stopping(bool here = false) const;
  /// Errors   78 naming the rank whose `what` is another than rank 0's
  void require_same(const std::string& mine, const char* what) const;
  /// Errors   64 if a file of several processes is "-", which is the stdin of each
  void require_file(const std::string& file, const char* option) const;

 private:
  struct Told;
  dist::ConnectOptions how_to_connect();
  std::string who_is_gone() const;
  [[noreturn]] void miss(const dist::PeerLost& error);
  void settle(Context& context);
  std::vector<std::string> exchange(const std::string& message) const;

  int64_t init_seconds_ = 300, silent_seconds_ = 3600;
  std::string interface_;
  dist::Place place_;
  std::unique_ptr<dist::Connection> connection_;  // none: one process
  std::mutex mutex_;
  std::condition_variable changed_;
  int lost_ = -1;        // the rank that is gone
  bool ending_ = false;  // this process has noticed
};

/// Numbers as bytes for gather(): all ranks run the same program.
template <class T>
std::string to_bytes(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <class T>
std::vector<T> from_bytes(const std::string& bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

std::string to_bytes(const at::Tensor& x);
at::Tensor from_bytes(const std::string& bytes, at::ScalarType type, at::IntArrayRef shape);

}  // namespace lact::cli
