#pragma once
// Work on many threads whose results leave in the order the work came in.

#include <lact/cli/run.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace lact::work {

/// push() and finish() belong to one thread, on which `take` is called with the results, in order.
/// At most a few jobs per thread are in memory. What `work` throws, push() or finish() throws, and
/// cli::Interrupted where a signal asks to stop. Work that takes long looks at the flag that it is
/// given: true once nobody wants its result.
template <class Job, class Result>
class Ordered {
 public:
  Ordered(int threads, std::function<Result(Job&, const std::atomic<bool>&)> work,
          std::function<void(Result&)> take)
      : work_(std::move(work)), take_(std::move(take)), limit_(4 * static_cast<size_t>(threads)) {
    // A single thread needs no others.
    for (int i = 0; i < threads && threads > 1; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Ordered() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;  // under the lock, or a thread that is about to wait would miss it
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  Ordered(const Ordered&) = delete;
  Ordered& operator=(const Ordered&) = delete;

  void push(Job job) {
    if (threads_.empty()) {
      auto result = work_(job, stop_);
      take_(result);
      return;
    }
    while (running_.size() >= limit_) take_first();
    auto slot = std::make_shared<Slot>();
    slot->job = std::move(job);
    running_.push_back(slot);
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(slot));
    }
    wake_.notify_one();
  }

  void finish() {
    while (!running_.empty()) take_first();
  }

 private:
  struct Slot {
    Job job;
    Result result;
    std::exception_ptr error;
    bool done = false;
  };

  void take_first() {
    const auto slot = running_.front();
    {
      std::unique_lock lock(mutex_);
      while (!done_.wait_for(lock, kPoll, [&] { return slot->done; }))
        if (cli::stop_requested()) throw cli::Interrupted();
    }
    running_.pop_front();
    if (slot->error) std::rethrow_exception(slot->error);
    take_(slot->result);
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Slot> slot;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
        if (stop_) return;
        slot = std::move(waiting_.front());
        waiting_.pop_front();
      }
      try {
        slot->result = work_(slot->job, stop_);
      } catch (...) {
        slot->error = std::current_exception();
      }
      {
        const std::lock_guard lock(mutex_);
        slot->done = true;
      }
      done_.notify_one();
    }
  }

  static constexpr std::chrono::milliseconds kPoll{100};  // between looks for a signal

  std::function<Result(Job&, const std::atomic<bool>&)> work_;
  std::function<void(Result&)> take_;
  size_t limit_;
  std::deque<std::shared_ptr<Slot>> running_;  // the owner's alone
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<std::shared_ptr<Slot>> waiting_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace lact::work
