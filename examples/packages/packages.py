#!/usr/bin/env python3
"""Documents from Debian's package index, on which learning while reading is worth something: what is said of the first binary
package of a source package is worth knowing at the fifth.

usage: apt-cache dumpavail | packages.py DIR

Writes DIR/train.txt and DIR/val.txt (120 documents), split by source package; documents end with \\x1e.
"""

import collections
import pathlib
import random
import re
import sys

FIELDS = ("Package", "Version", "Maintainer", "Architecture", "Depends", "Description", "Homepage", "Section", "Filename")
LEAST_PACKAGES, LEAST_LETTERS, MOST_LETTERS = 4, 2500, 6000
HELD_OUT = 120
END = "\x1e"


def documents(index):
    """All binary packages of each source package, as one text; short ones are left out, long ones cut at a line."""
    sources = collections.OrderedDict()
    for stanza in index.split("\n\n"):
        fields = dict(found.groups() for line in stanza.split("\n") if (found := re.match(r"([A-Za-z0-9-]+): (.*)", line)))
        if "Package" not in fields:
            continue
        source = fields.get("Source", fields["Package"]).split()[0]
        sources.setdefault(source, []).append("\n".join(f"{name}: {fields[name]}" for name in FIELDS if name in fields))
    for packages in sources.values():
        text = "\n\n".join(packages)
        if len(packages) >= LEAST_PACKAGES and len(text) >= LEAST_LETTERS:
            yield text[:MOST_LETTERS].rsplit("\n", 1)[0]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    found = list(documents(sys.stdin.read()))
    random.Random(1).shuffle(found)
    for name, part in (("val.txt", found[:HELD_OUT]), ("train.txt", found[HELD_OUT:])):
        (folder / name).write_text(END.join(part), encoding="utf-8")
    print(f"{len(found)} documents of {len(set(found))} texts in {folder}")


if __name__ == "__main__":
    main()
