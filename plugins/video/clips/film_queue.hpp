#pragma once
// Films on many threads, whose clips leave in the order of the films.

#include "film_clips.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace lact::video {

/// Cuts films ahead of whoever takes their clips: at most a film per thread is open, no film is
/// begun that is far behind the one whose clips are taken, and few pieces wait in memory.
class FilmQueue {
 public:
  FilmQueue(std::vector<std::filesystem::path> films, const CutSettings& settings, int threads);
  ~FilmQueue();
  FilmQueue(const FilmQueue&) = delete;
  FilmQueue& operator=(const FilmQueue&) = delete;

  /// The next piece of film `i`, or none at its end; films in order, each to its end. What reading
  /// it threw comes after its pieces. Errors: cli::Interrupted
  std::optional<ClipPiece> next(size_t i);
  /// Of a film whose end was reached.
  FilmSeen seen(size_t i);
  /// Films that were begun.
  size_t begun() const;

  static constexpr size_t kAhead = 4;  ///< films of each thread, from the one at hand

 private:
  struct Channel {
    std::deque<ClipPiece> pieces;
    FilmSeen seen;
    std::exception_ptr error;
    bool done = false;
  };
  void serve();
  void put(size_t i, ClipPiece&& piece);
  void reach(size_t i);

  std::vector<std::filesystem::path> films_;
  CutSettings settings_;
  size_t ahead_;         // films from the one at hand that are begun
  size_t limit_, most_;  // pieces of a film, of all
  mutable std::mutex mutex_;
  std::condition_variable put_, taken_;
  std::vector<Channel> channels_;
  size_t begun_ = 0, at_hand_ = 0;  // films
  size_t waiting_ = 0;              // pieces
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lact::video
