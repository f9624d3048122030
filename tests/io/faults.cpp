#include "faults.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

namespace lact::test {
namespace {

// One thread saves; the others of the test program (readers of pipes) must not be counted.
thread_local bool armed = false;
int chosen = 0, calls = 0, number = 0;
Fault kind = Fault::fail;

// Preloaded into a program: what it does below a folder is counted, whichever thread does it.
const char* below = nullptr;
FaultReport* report = nullptr;

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

bool is_below(const char* path) {
  return path != nullptr && std::string_view(path).starts_with(below == nullptr ? "" : below);
}

bool is_below(int file) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = ::readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return is_below(path);
}

/// True if this call, of a function on a path or a descriptor, is the faulty one.
template <class Place>
bool hit(const char* function, Place place) {
  if (below == nullptr) return armed && ++calls == chosen;
  const int before = errno;
  const bool counted = is_below(place);
  errno = before;
  if (!counted || ++report->calls != chosen) return false;
  std::strncpy(report->function, function, sizeof report->function - 1);
  return true;
}

int faulty() {
  if (kind == Fault::die) ::kill(::getpid(), SIGKILL);
  errno = number;
  return -1;
}

#ifdef LACT_FAULTS_PRELOAD
int variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

/// LACT_FAULT_REPORT and LACT_FAULT_BELOW must be set: see run_with_fault().
__attribute__((constructor)) void prepare() {
  const char *file = std::getenv("LACT_FAULT_REPORT"), *folder = std::getenv("LACT_FAULT_BELOW");
  if (file == nullptr || folder == nullptr) return;
  chosen = variable("LACT_FAULT_CALL");
  number = variable("LACT_FAULT_ERRNO");
  kind = variable("LACT_FAULT_DIE") != 0 ? Fault::die : Fault::fail;
  // Shared with the test, which learns what happened even if this process is killed.
  const int open = real<int(const char*, int, mode_t)>("open")(file, O_RDWR | O_CLOEXEC, 0);
  void* map = ::mmap(nullptr, sizeof(FaultReport), PROT_READ | PROT_WRITE, MAP_SHARED, open, 0);
  if (map == MAP_FAILED) ::_exit(99);
  report = static_cast<FaultReport*>(map);
  below = folder;
}
#endif

}  // namespace

#ifndef LACT_FAULTS_PRELOAD
void arm(int call, Fault fault, int error) {
  chosen = call;
  calls = 0;
  kind = fault;
  number = error;
  armed = true;
}

int disarm() {
  armed = false;
  return calls;
}
#endif

}  // namespace lact::test

namespace t = lact::test;

// The functions carry names of their own, because the headers rename some of them (open to open64);
// the linker sees the names in asm(). `place` is the path or descriptor that they work on.
#define LACT_FAULT(result, name, place, parameters, arguments)                       \
  extern "C" result lact_fault_##name parameters asm(#name);                         \
  extern "C" result lact_fault_##name parameters {                                   \
    static auto* const next = t::real<result parameters>(#name);                     \
    return t::hit(#name, place) ? static_cast<result>(t::faulty()) : next arguments; \
  }

LACT_FAULT(int, fsync, file, (int file), (file))
LACT_FAULT(int, close, file, (int file), (file))
LACT_FAULT(int, rename, to, (const char* from, const char* to), (from, to))
LACT_FAULT(int, renameat2, to, (int a, const char* from, int b, const char* to, unsigned flags),
           (a, from, b, to, flags))
LACT_FAULT(int, mkdir, path, (const char* path, mode_t mode), (path, mode))
LACT_FAULT(int, symlink, path, (const char* to, const char* path), (to, path))
LACT_FAULT(int, unlink, path, (const char* path), (path))
LACT_FAULT(int, unlinkat, folder, (int folder, const char* path, int flags), (folder, path, flags))
LACT_FAULT(int, remove, path, (const char* path), (path))

// A torn write: half of it arrives. Without bytes to halve, none.
#define LACT_FAULT_WRITE(name, parameters, whole, half)                                  \
  extern "C" ssize_t lact_fault_##name parameters asm(#name);                            \
  extern "C" ssize_t lact_fault_##name parameters {                                      \
    static auto* const next = t::real<ssize_t parameters>(#name);                        \
    if (!t::hit(#name, file)) return next whole;                                         \
    if (bytes > 1 && (t::kind == t::Fault::die || t::number != EINTR)) (void)!next half; \
    return t::faulty();                                                                  \
  }

LACT_FAULT_WRITE(write, (int file, const void* data, size_t bytes), (file, data, bytes),
                 (file, data, bytes / 2))
LACT_FAULT_WRITE(pwrite64, (int file, const void* data, size_t bytes, int64_t at),
                 (file, data, bytes, at), (file, data, bytes / 2, at))

// Reading too: a descriptor table may be full at any time.
#define LACT_FAULT_OPEN(name)                                                    \
  extern "C" int lact_fault_##name(const char* path, int flags, ...) asm(#name); \
  extern "C" int lact_fault_##name(const char* path, int flags, ...) {           \
    static auto* const next = t::real<int(const char*, int, mode_t)>(#name);     \
    va_list rest;                                                                \
    va_start(rest, flags);                                                       \
    const auto mode = static_cast<mode_t>(va_arg(rest, int));                    \
    va_end(rest);                                                                \
    return t::hit(#name, path) ? t::faulty() : next(path, flags, mode);          \
  }

LACT_FAULT_OPEN(open)
LACT_FAULT_OPEN(open64)
