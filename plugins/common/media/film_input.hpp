#pragma once
// Where a film's bytes come from, for video_reader.cpp alone.

#include "ffmpeg.hpp"

#include <sys/types.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace lact::media {

/// A file, or stdin if it is called "-". What comes through a pipe, a named one too, is read as it
/// comes, but for MP4 and MOV, whose index may stand at the end: these are kept in a temporary file
/// first.
class FilmInput {
 public:
  /// Where `stop` says true while a pipe is waited for, the film ends.
  /// Errors   66 if it cannot be opened, 74 if there is no room for what comes through a pipe
  explicit FilmInput(const std::filesystem::path& file, bool (*stop)() = nullptr);
  FilmInput(const FilmInput&) = delete;
  FilmInput& operator=(const FilmInput&) = delete;

  const std::string& name() const { return name_; }
  AVIOContext* io() const { return io_.get(); }
  /// For FFmpeg: bytes read or a code of its errors; a position or a code.
  int read(uint8_t* to, int bytes);
  int64_t seek(int64_t to, int whence);

 private:
  ssize_t read_pipe(void* to, size_t bytes) const;
  void open_descriptor();
  void keep();

  struct Closed {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct Pipe {
    Pipe() = default;
    ~Pipe();
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    int fd = -1;
  };
  std::string name_;
  bool (*stop_)();
  Pipe pipe_;
  std::unique_ptr<std::FILE, Closed> file_;  // none: a pipe
  std::string head_;                         // read from the pipe to see what it is
  Io io_;
};

}  // namespace lact::media
