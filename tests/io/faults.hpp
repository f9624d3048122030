#pragma once
// The k-th call that changes the file system fails, or is the last thing a process does.
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

}  // namespace lact::test
