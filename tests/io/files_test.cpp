#include "tensors.hpp"

#include "support/process.hpp"

#include <lact/io/closed_pipe.hpp>
#include <lact/io/files.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

using namespace lact;
using namespace lact::test;

TEST_CASE("a file appears at commit and not before", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f", "old");
  {
    io::AtomicFile file(folder / "f");
    file.write("new ");
    file.write(std::string(1 << 20, 'x'));
    CHECK(get(folder / "f") == "old");
    file.write_at(1, "E", 1);
    file.write("!");
    CHECK(file.size() == 4 + (1 << 20) + 1);
    file.commit();
  }
  CHECK(get(folder / "f") == "nEw " + std::string(1 << 20, 'x') + "!");
  CHECK(listing(folder.path()) == std::vector<std::string>{"f"});
}

TEST_CASE("a file that is not committed leaves nothing behind", "[io]") {
  const TemporaryFolder folder;
  {
    io::AtomicFile file(folder / "f");
    file.write("new");
    CHECK(listing(folder.path()).size() == 1);
  }
  CHECK(listing(folder.path()).empty());
  put(folder / "g", "old");
  { io::AtomicFile(folder / "g").write("new"); }
  CHECK(get(folder / "g") == "old");
}

TEST_CASE("an empty file can be written", "[io]") {
  const TemporaryFolder folder;
  io::write_text(folder / "f", "");
  CHECK(std::filesystem::file_size(folder / "f") == 0);
}

TEST_CASE("a name of the greatest length can be written", "[io]") {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  io::write_text(folder / name, "x");
  CHECK(listing(folder.path()) == std::vector<std::string>{name});
}

TEST_CASE("writing keeps a file's mode, and follows links to it", "[io]") {
  const TemporaryFolder folder;
  put(folder / "private", "old");
  std::filesystem::permissions(folder / "private", std::filesystem::perms{0600});
  std::filesystem::create_symlink("private", folder / "link");
  io::write_text(folder / "link", "new");
  CHECK(get(folder / "private") == "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(std::filesystem::status(folder / "private").permissions() == std::filesystem::perms{0600});
}

TEST_CASE("devices and pipes are written to, not replaced", "[io]") {
  io::write_text("/dev/null", "x");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::string seen;
  std::thread reader([&] { seen = get(folder / "pipe"); });
  io::write_text(folder / "pipe", "through");
  reader.join();
  CHECK(seen == "through");
  CHECK(std::filesystem::is_fifo(folder / "pipe"));
}

TEST_CASE("an output that cannot be created is 73, one that cannot be written 74", "[io]") {
  const TemporaryFolder folder;
  const auto missing = error_of([&] { io::write_text(folder / "no/f", "x"); });
  CHECK(missing.first == Exit::cannot_create);
  CHECK(missing.second ==
        (folder / "no/f").string() + ": cannot create: No such file or directory");
  const auto directory = error_of([&] { io::write_text(folder.path(), "x"); });
  CHECK(directory.first == Exit::cannot_create);
  const auto full = error_of([&] { io::write_text("/dev/full", "x"); });
  CHECK(full.first == Exit::io);
  CHECK(full.second == "/dev/full: cannot write: No space left on device");
  const auto large = error_of([&] { io::write_text("/dev/full", std::string(1 << 20, 'x')); });
  CHECK(large.first == Exit::io);
}

TEST_CASE("a text is read whole, and never more than the limit", "[io]") {
  const TemporaryFolder folder;
  const auto text = std::string(200000, 'a') + std::string("\0\xff", 2);
  put(folder / "f", text);
  CHECK(io::read_text(folder / "f") == text);
  CHECK(io::read_text(folder / "f", text.size()) == text);
  CHECK(error_of([&] { io::read_text(folder / "f", text.size() - 1); }).first == Exit::data);
  CHECK(error_of([&] { io::read_text("/dev/zero", 100000); }).first == Exit::data);
  CHECK(error_of([&] { io::read_text(folder / "none"); }).first == Exit::no_input);
  CHECK(error_of([&] { io::read_text(folder.path()); }).first == Exit::no_input);
}

TEST_CASE("what is shown of a file's bytes is short, text or not, and ends in no half letter",
          "[io]") {
  CHECK(io::printable("a\nb") == "a\\x0ab");
  CHECK(io::printable(std::string(500, '\xaa')).size() < 140);
  const auto text = std::string(119, 'a') + "\xe2\x82\xac" + std::string(500, 'b');
  CHECK(io::printable(text) == std::string(119, 'a') + "\xe2\x82\xac...");
}

TEST_CASE("a reader of stdout that went away ends the program as it ends cat", "[io]") {
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  ::close(pipe[0]);  // before the fork: no one may read
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_IGN);
    ::dup2(pipe[1], STDOUT_FILENO);
    try {
      io::write_all(STDOUT_FILENO, "x", 1, "stdout");
    } catch (...) {
    }
    ::_exit(99);
  }
  ::close(pipe[1]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGPIPE);
}

TEST_CASE("a reader of stdout that went away is an exception for who asked for it", "[io]") {
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  ::close(pipe[0]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(pipe[1], STDOUT_FILENO);
    int code = 1;
    try {
      const io::ClosedPipeThrows throws;
      io::write_all(STDOUT_FILENO, "x", 1, "stdout");
    } catch (const io::ClosedPipe&) {
      code = ::signal(SIGPIPE, SIG_IGN) == SIG_DFL ? 0 : 2;  // as it was
    } catch (...) {
    }
    ::_exit(code);
  }
  ::close(pipe[1]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a slow reader of a pipe that does not block gets all of it", "[io]") {
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_NONBLOCK) == 0);
  const std::string text(1 << 20, 'x');
  size_t got = 0;
  std::thread reader([&] {
    char buffer[4096];
    while (got < text.size()) {
      const auto n = ::read(pipe[0], buffer, sizeof buffer);
      if (n > 0)
        got += static_cast<size_t>(n);
      else
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  io::write_all(pipe[1], text.data(), text.size(), "pipe");
  reader.join();
  CHECK(got == text.size());
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_CASE("XXH3 is xxhsum's, whole or in pieces", "[io]") {
  CHECK(io::xxh3("", 0) == "99aa06d3014798d86001c324468d497f");  // of the XXH3 specification
  std::string text(300000, 'a');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i % 251);
  io::Xxh3 hash;
  for (size_t at = 0; at < text.size(); at += 777)
    hash.update(text.data() + at, std::min<size_t>(777, text.size() - at));
  CHECK(hash.digest() == io::xxh3(text.data(), text.size()));
  text[150000] ^= 1;
  CHECK(hash.digest() != io::xxh3(text.data(), text.size()));
}
