#!/usr/bin/env python3
"""The tree passes ./dev lint --changed: clang-tidy, formatting, man pages, shell scripts."""

import shutil
import subprocess
import sys

from sentences import SOURCE, expect, main

PROGRAMS = ("clang-tidy", "clang-format", "mandoc", "shellcheck")


def nothing_to_mend():
    """./dev lint --changed finds nothing"""
    result = subprocess.run(["./dev", "lint", "--no-install", "--changed"], cwd=SOURCE, capture_output=True, text=True, check=False)
    expect(result.returncode == 0, result.stdout[-4000:], result.stderr[-4000:])


if __name__ == "__main__":
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        print("skipped: no", ", ".join(missing))
        sys.exit(77)
    main([nothing_to_mend])
