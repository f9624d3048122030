#!/usr/bin/env python3
"""Adds up what the test programs of a `meson test` run report.

Every program ends with a line "tests: N passed, N failed". One that died before it, or that failed
though its line says otherwise, counts as one failure; a skipped one (exit 77) as nothing.
usage: add_up.py testlog.json... Prints "N passed, N failed" as the last line; exit 1 if any failed or
none passed, before it the last lines of every program that failed: in a long log they are far above.
"""

import json
import re
import sys

LAST_LINES = 40


def add_up(lines):
    """(passed, failed, remarks) of the lines of a testlog.json."""
    passed = failed = 0
    remarks = []
    for line in lines:
        test = json.loads(line)
        if test["result"] == "SKIP":
            remarks.append(f"{test['name']}: skipped")
            continue
        said = re.findall(r"^tests: (\d+) passed, (\d+) failed$", test.get("stdout") or "", re.M)
        good, bad = map(int, said[-1]) if said else (0, 0)
        if not bad and (not said or test["result"] != "OK"):
            remarks.append(f"{test['name']}: ended with {test['result']}"
                           + ("" if said else " before it counted its tests"))
            bad = 1
        if bad:
            printed = (test.get("stdout") or "") + (test.get("stderr") or "")
            remarks.append(f"{test['name']} failed; its last lines:")
            remarks += ["  " + line for line in printed.splitlines()[-LAST_LINES:]]
        passed += good
        failed += bad
    return passed, failed, remarks


def main():
    passed = failed = 0
    for name in sys.argv[1:]:
        try:
            with open(name, encoding="utf-8") as log:
                good, bad, remarks = add_up(log)
        except FileNotFoundError as error:
            good, bad, remarks = 0, 1, [f"no test ran: {error}"]
        for remark in remarks:
            print(remark)
        passed += good
        failed += bad
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
