#include "support/test.hpp"

#include <lact/cli/agreement.hpp>
#include <lact/error.hpp>

using namespace lact;

TEST_CASE("processes share the cores that several may use, and keep those of their own", "[cli]") {
  // On one machine, on two.
  CHECK(cli::cores_each({"a 11111111", "a 11111111"}) == 4);
  CHECK(cli::cores_each({"a 11111111", "b 11111111"}) == 8);
  // Bound by the launcher: as many as each was given, however many the machine has.
  CHECK(cli::cores_each({"a 11110000", "a 00001111"}) == 4);
  CHECK(cli::cores_each({"a 0110000000000000", "a 0001100000000000"}) == 2);
  // A part of the machine, for all of them together.
  CHECK(cli::cores_each({"a 00001111", "a 00001111", "a 00001111", "a 00001111"}) == 1);
  // Of three threes, and never none.
  CHECK(cli::cores_each({"a 111", "a 111", "a 111"}) == 1);
  CHECK(cli::cores_each({"a 1", "a 1", "a 1"}) == 1);
  // As many as the one that has fewest.
  CHECK(cli::cores_each({"a 1111", "b 1111", "b 1111"}) == 2);
  CHECK(cli::cores_each({"a 1110", "a 0011"}) == 1);
}

TEST_CASE("the seed and the network interface may differ between processes, the rest not",
          "[cli]") {
  const std::string first = "steps = 3\nseed = 1\ncomm-interface = \"ib0\"\n";
  const auto lines = [](const std::string& config) { return cli::common_lines(config); };
  CHECK(lines(first) == lines("steps = 3\nseed = 2\ncomm-interface = \"eth1\"\n"));
  CHECK_NOTHROW(cli::require_same({lines(first), lines(first)}, "options"));
  try {
    cli::require_same({lines(first), lines(first), "steps = 4\n"}, "options");
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::config);
    CHECK(std::string(error.what()) ==
          "rank 2 has other options than rank 0: steps = 4, not steps = 3");
  }
}
