#pragma once
// The k-th call that changes the file system fails, or is the last thing a process does.
//
// In this program, or in another one into which the same source is preloaded.
//
// faults.cpp defines the C library's calls itself; liblact, loaded after the program, finds these
// first. SQLite tests its files this way: https://www.sqlite.org/testing.html

namespace lact::test {

/// What the chosen call does instead of its work.
enum class Fault {
  fail,  ///< returns -1 with the errno given; a write takes half of its bytes first (not with
         ///< EINTR, which means none)
  die,   ///< ends the process as SIGKILL does; a write takes half of its bytes first
};

/// From now on the `call`-th call (from 1) is faulty, once. 0: none, only count.
void arm(int call, Fault fault, int error = 0);
/// Ends it. Returns the calls made since arm().
int disarm();

/// What a program with lact-faults.so in LD_PRELOAD did. Its variables: LACT_FAULT_BELOW, a folder,
/// what is done elsewhere is not counted; LACT_FAULT_CALL and LACT_FAULT_ERRNO as for arm();
/// LACT_FAULT_DIE=1 for Fault::die; LACT_FAULT_REPORT, a file that holds one of these.
struct FaultReport {
  int calls = 0;
  char function[16] = {};  ///< that was faulty; empty if none was
};

}  // namespace lact::test
