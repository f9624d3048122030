"""The smallest test runner: functions whose first docstring line is a sentence that can be false."""

import os
import pathlib
import re
import subprocess
import sys
import traceback

SOURCE = pathlib.Path(os.environ.get("LACT_SOURCE_ROOT", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("LACT_BUILD_ROOT", SOURCE / "build"))
LIBTORCH = os.environ.get("LACT_TEST_LIBTORCH", "")  # the one of this build


def tracked(*patterns):
    """Files of the tree that git knows, or would know: those it is not told to ignore."""
    listing = subprocess.run(
        ["git", "-C", SOURCE, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        capture_output=True, check=True, text=True).stdout
    return [SOURCE / name for name in listing.split("\0") if name and (SOURCE / name).is_file()]


def matches(expression, files):
    """["file:line: text"] for every line of the files that the compiled expression finds."""
    found = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary
        found += [f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
                  for number, line in enumerate(text.split("\n"), 1) if expression.search(line)]
    return found


def links(page):
    """Where the links and pictures of a Markdown page lead, those to other places of the net left out."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"^(?: {4}|\t).*$|`[^`\n]*`", "", text, flags=re.M)  # code
    found = re.findall(r"\]\(([^()\s]+)\)", text)
    return [link.partition("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]


def expect(condition, *complaint):
    if not condition:
        raise AssertionError("\n    ".join(map(str, complaint)))


def main(tests):
    failed = 0
    for test in tests:
        try:
            test()
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED: {test.__doc__.splitlines()[0]}")
            print("    " + str(error) if isinstance(error, AssertionError) else traceback.format_exc())
    print(f"tests: {len(tests) - failed} passed, {failed} failed")
    sys.exit(failed > 0)
