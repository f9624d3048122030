#include "film_queue.hpp"

#include <lact/cli/run.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace lact::video {
namespace {

constexpr int64_t kAheadBytes = int64_t{64} << 20;  // of a film, and of all films for each thread

}  // namespace

FilmQueue::FilmQueue(std::vector<std::filesystem::path> films, const CutSettings& settings,
                     int threads)
    : films_(std::move(films)), settings_(settings), channels_(films_.size()) {
  const auto piece = std::max<int64_t>(settings.frames, 16) * settings.width * settings.height * 3;
  limit_ = static_cast<size_t>(std::clamp<int64_t>(kAheadBytes / piece, 1, 256));
  const auto count = std::min<size_t>(static_cast<size_t>(std::max(threads, 1)), films_.size());
  ahead_ = kAhead * count;
  most_ = limit_ * count;
  for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { serve(); });
}

FilmQueue::~FilmQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  taken_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void FilmQueue::serve() {
  for (;;) {
    size_t i = 0;
    {
      std::unique_lock lock(mutex_);
      taken_.wait(lock,
                  [&] { return stop_ || begun_ == films_.size() || begun_ < at_hand_ + ahead_; });
      if (stop_ || begun_ == films_.size()) return;
      i = begun_++;
    }
    Channel end;
    try {
      end.seen = cut_film(
          films_[i], settings_, [&](ClipPiece&& piece) { put(i, std::move(piece)); },
          cli::stop_requested,
          [this] {
            const std::lock_guard lock(mutex_);
            return stop_;
          });
    } catch (...) {
      end.error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      channels_[i].seen = end.seen;
      channels_[i].error = end.error;
      channels_[i].done = true;
    }
    put_.notify_all();
  }
}

/// Pieces of the film at hand never wait for those of others.
void FilmQueue::put(size_t i, ClipPiece&& piece) {
  {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [&] {
      return stop_ || i < at_hand_ ||
             (channels_[i].pieces.size() < limit_ && (i == at_hand_ || waiting_ < most_));
    });
    if (stop_ || i < at_hand_) return;  // nobody wants it any more
    channels_[i].pieces.push_back(std::move(piece));
    ++waiting_;
  }
  put_.notify_all();
}

/// What is left of the films before this one is given up.
void FilmQueue::reach(size_t i) {
  if (i <= at_hand_) return;
  for (; at_hand_ < i; ++at_hand_) {
    waiting_ -= channels_[at_hand_].pieces.size();
    channels_[at_hand_].pieces.clear();
  }
  taken_.notify_all();
}

std::optional<ClipPiece> FilmQueue::next(size_t i) {
  std::unique_lock lock(mutex_);
  reach(i);
  auto& channel = channels_[i];
  while (channel.pieces.empty() && !channel.done) {
    put_.wait_for(lock, std::chrono::milliseconds(100));
    if (cli::stop_requested()) throw cli::Interrupted();
  }
  if (cli::stop_requested()) throw cli::Interrupted();
  if (!channel.pieces.empty()) {
    auto piece = std::move(channel.pieces.front());
    channel.pieces.pop_front();
    --waiting_;
    lock.unlock();
    taken_.notify_all();
    return piece;
  }
  if (channel.error) std::rethrow_exception(channel.error);
  return {};
}

size_t FilmQueue::begun() const {
  const std::lock_guard lock(mutex_);
  return begun_;
}

FilmSeen FilmQueue::seen(size_t i) {
  const std::lock_guard lock(mutex_);
  return channels_[i].seen;
}

}  // namespace lact::video
