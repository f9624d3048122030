#include "faults.hpp"

#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>

namespace lact::test {
namespace {

// One thread saves; the others of the test program (readers of pipes) must not be counted.
thread_local bool armed = false;
int chosen = 0, calls = 0, number = 0;
Fault kind = Fault::fail;

/// True if this call is the faulty one.
bool hit() {
  return armed && ++calls == chosen;
}

int faulty() {
  if (kind == Fault::die) ::kill(::getpid(), SIGKILL);
  errno = number;
  return -1;
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

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

}  // namespace lact::test

namespace t = lact::test;

// The functions carry names of their own, because the headers rename some of them (open to open64);
// the linker sees the names in asm().
#define LACT_FAULT(result, name, parameters, arguments)                  \
  extern "C" result lact_fault_##name parameters asm(#name);             \
  extern "C" result lact_fault_##name parameters {                       \
    static auto* const next = t::real<result parameters>(#name);         \
    return t::hit() ? static_cast<result>(t::faulty()) : next arguments; \
  }

LACT_FAULT(int, fsync, (int file), (file))
LACT_FAULT(int, close, (int file), (file))
LACT_FAULT(int, rename, (const char* from, const char* to), (from, to))
LACT_FAULT(int, renameat2, (int a, const char* from, int b, const char* to, unsigned flags),
           (a, from, b, to, flags))
LACT_FAULT(int, mkdir, (const char* path, mode_t mode), (path, mode))
LACT_FAULT(int, symlink, (const char* to, const char* path), (to, path))
LACT_FAULT(int, unlink, (const char* path), (path))
LACT_FAULT(int, unlinkat, (int folder, const char* path, int flags), (folder, path, flags))
LACT_FAULT(int, remove, (const char* path), (path))

// A torn write: half of it arrives. Without bytes to halve, none.
#define LACT_FAULT_WRITE(name, parameters, whole, half)                                  \
  extern "C" ssize_t lact_fault_##name parameters asm(#name);                            \
  extern "C" ssize_t lact_fault_##name parameters {                                      \
    static auto* const next = t::real<ssize_t parameters>(#name);                        \
    if (!t::hit()) return next whole;                                                    \
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
    return t::hit() ? t::faulty() : next(path, flags, mode);                     \
  }

LACT_FAULT_OPEN(open)
LACT_FAULT_OPEN(open64)
