#!/usr/bin/env python3
"""The tree keeps the rules that HACKING.md states."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import add_up
from sentences import SOURCE, expect, links, main, matches, tracked

# The rooms of liblact, and what each may include (HACKING.md). "" is the top: errors, log.
ROOMS = {
    "": {""},
    "simd": {"simd"},
    "ops": {"", "simd", "ops"},
    "nn": {"", "simd", "ops", "io", "dist", "nn"},
    "io": {"", "io"},
    "dist": {"", "io", "dist"},
    "verify": {"", "ops", "nn", "io", "verify"},
    "cli": {"", "io", "dist", "cli"},
    "train": {"", "ops", "nn", "io", "dist", "cli", "train"},
    "plugin": {"", "ops", "nn", "io", "dist", "verify", "cli", "train", "plugin"},
}
# The rooms inside each plugin, lowest first, and what each may include besides itself, the plugin's top and plugins/common.
PLUGIN_ROOMS = {
    "text": {
        "input": set(),
        "packed": set(),
        "tokenize": {"input", "packed"},
        "model": set(),
        "train": {"packed", "model"},
        "session": {"input", "model"},
        "evaluate": {"input", "packed", "session"},
        "generate": {"session", "evaluate"},
        "bench": {"packed", "tokenize", "model", "train", "session", "evaluate"},
        "verify": {"model"},
    },
    "views": {
        "camera": set(),
        "scene": {"camera"},
        "capture": {"camera", "scene"},
        "objects": {"camera"},
        "model": {"camera"},
        "train": {"scene", "model"},
        "evaluate": {"camera", "scene"},
        "render": {"camera", "scene", "capture", "model", "evaluate"},
        "bench": {"scene", "model", "evaluate", "render"},
        "verify": {"camera", "capture", "model"},
    },
    "video": {
        "model": set(),
        "packed": set(),
        "codec": {"model", "packed"},
        "condition": {"model", "packed"},
        "clips": {"packed", "codec"},
        "train": {"model", "packed", "codec", "condition"},
        "film": {"model", "packed", "codec", "condition", "train"},
        "bench": {"model", "train", "film"},
        "verify": {"model", "codec", "condition", "train", "film"},
    },
    "common": {"media": set(), "packed": set(), "spm": set(), "work": set(), "commands": set()},
}
# Libraries that modalities need, as their headers begin, and who may include them.
HEAVY = {
    "sentencepiece": ("plugins/common/spm/", "plugins/text/"),
    "opencv": ("plugins/common/media/", "plugins/views/"),
    "lib(?:av|sw)": ("plugins/common/media/",),
    r"png\.h|jpeglib\.h|webp/": ("plugins/common/media/",),
    "tiny_obj_loader": ("plugins/views/",),
    "yaml-cpp": ("plugins/video/model/",),
}
STAMP = "plugin/stamp.h"  # one string that the build makes: anyone may print it
CODE = ("*.cpp", "*.hpp", "*.h", "*.cu", "*.cuh")


def no_machine_paths():
    """no file names a folder of somebody's machine"""
    home = re.compile(r"(?<![\w.$}])/(?:root|work|home/\w+)/\w")
    found = matches(home, tracked("."))
    expect(not found, *found)


def narrow_headers():
    """no file includes all of LibTorch"""
    wide = re.compile(r"#\s*include\s*<(?:torch/(?:torch|all|extension)\.h|ATen/ATen\.h)>")
    found = matches(wide, tracked(*CODE))
    expect(not found, *found)
    expect(wide.search("#include <torch/torch.h>"), "the expression finds nothing")


def headers_are_guarded():
    """every C++ header begins with #pragma once"""
    found = [file for file in tracked("*.hpp") if not re.match(r"(?://.*\n|\s)*#pragma once\n", file.read_text())]
    expect(not found, *found)


def room_of(name):
    """The room of a file of liblact, from its path below include/lact or src."""
    first, _, rest = name.partition("/")
    return first if rest else ""


def rooms_include_upwards():
    """no room of liblact includes one that it may not know"""
    found = []
    seen = 0
    for base in ("libs/lact/include/lact/", "libs/lact/src/"):
        for file in tracked(base):
            if file.suffix not in (".cpp", ".hpp", ".h", ".cu", ".cuh"):
                continue
            name = str(file.relative_to(SOURCE / base))
            others = re.findall(r'#\s*include\s*[<"]lact/([^>"]+)[>"]', file.read_text())
            beside = re.findall(r'#\s*include\s*"(\.\./[^"]+)"', file.read_text())
            others += [os.path.relpath((file.parent / path).resolve(), SOURCE / base) for path in beside]
            for other in others:
                seen += 1
                if other != STAMP and room_of(other) not in ROOMS[room_of(name)]:
                    found.append(f"{base}{name} includes {other}")
    expect(not found, *found)
    expect(seen > 10, f"only {seen} includes seen: the search is wrong")


def plugin_arrows(plugin):
    """{(room, other room): ["file includes header"]} between the rooms of a plugin, its top as ''."""
    arrows = {}
    for file in tracked(f"plugins/{plugin}"):
        if file.suffix not in (".cpp", ".hpp"):
            continue
        name = str(file.relative_to(SOURCE / "plugins" / plugin))
        for other in re.findall(rf'#\s*include\s*[<"]plugins/{plugin}/([^>"]+)[>"]', file.read_text()):
            arrows.setdefault((room_of(name), room_of(other)), []).append(f"plugins/{plugin}/{name} includes {other}")
    return arrows


def plugin_rooms_include_upwards():
    """no room of a plugin includes one that it may not know, and every room that it may know it uses"""
    for plugin, rooms in PLUGIN_ROOMS.items():
        names = {room_of(str(file.relative_to(SOURCE / "plugins" / plugin))) for file in tracked(f"plugins/{plugin}/**/*.[ch]pp")}
        expect(names - {""} == set(rooms), f"{plugin}: rooms in the tree {sorted(names)}, in the table {sorted(rooms)}")
        arrows = plugin_arrows(plugin)
        above = [line for (room, other), lines in arrows.items() if room and other and room != other
                 and other not in rooms[room] for line in lines]
        expect(not above, *above)
        unused = [f"{plugin}: {room} may include {other}" for room, others in rooms.items() for other in others
                  if (room, other) not in arrows]
        expect(not unused, *unused)
        order = list(rooms)
        back = [f"{plugin}: {room} stands before {other}" for room, others in rooms.items() for other in others
                if order.index(other) > order.index(room)]
        expect(not back, *back)


def rooms_include_one_way():
    """a file includes its own room in quotes and every other room from the top of the tree"""
    found = matches(re.compile(r'#\s*include\s*"[^"]*/'), tracked("plugins/**/*.cpp", "plugins/**/*.hpp"))
    expect(not found, *found)


def print_arrows():
    """Prints the arrows between the rooms of each plugin: python3 tests/house/tree_test.py --arrows."""
    for plugin in PLUGIN_ROOMS:
        arrows = {key: lines for key, lines in plugin_arrows(plugin).items() if key[0] and key[1] and key[0] != key[1]}
        print(f"{plugin}: {len(arrows)} arrows between {len(PLUGIN_ROOMS[plugin])} rooms")
        for room in PLUGIN_ROOMS[plugin]:
            others = [f"{other} ({len(lines)})" for (first, other), lines in arrows.items() if first == room]
            if others:
                print(f"    {room} -> {' '.join(others)}")


def core_knows_no_modality():
    """nothing outside the plugins includes a plugin or its heavy library"""
    foreign = re.compile(rf'#\s*include\s*[<"](?:plugins/|{"|".join(HEAVY)})')
    found = matches(foreign, tracked("libs", "tools"))
    expect(not found, *found)


def heavy_libraries_have_their_place():
    """a plugin's heavy library is included by no other plugin"""
    found = []
    for library, places in HEAVY.items():
        included = matches(re.compile(rf'#\s*include\s*[<"](?:{library})'), tracked("plugins", "examples"))
        expect(included, f"nobody includes {library}: the expression is wrong")
        found += [line for line in included if not line.startswith(places)]
    expect(not found, *found)


def c10d_is_known_to_one_file():
    """c10d's headers, half a minute and a gigabyte, are included by one file"""
    found = matches(re.compile(r'#\s*include\s*[<"]torch/csrc/distributed'), tracked("libs", "plugins", "tools", "tests"))
    expect({line.split(":")[0] for line in found} == {"libs/lact/src/dist/c10d.cpp"}, *found)


def plugins_stay_apart():
    """no plugin includes another, and what they share includes none"""
    found = []
    for name in ("text", "video", "views"):
        others = [file for file in tracked("plugins") if file.relative_to(SOURCE).parts[1] != name]
        found += matches(re.compile(rf'#\s*include\s*[<"](?:plugins/|\.\./|\.\./\.\./)?{name}/'), others)
    expect(not found, *found)


def tools_stay_thin():
    """every tool has one main.cpp that a reader takes in at once"""
    mains = tracked("tools/*/main.cpp")
    found = [f"{file}: {len(file.read_text().splitlines())} lines" for file in mains
             if len(file.read_text().splitlines()) > 80]
    expect(not found, *found)


CITATION = re.compile(r"\bspec/(llm|views|video)((?:,?(?: and| to)? \d+(?:\.\d+)*\b)*)")
# Citations that do not name their document, or name it as a path.
OLD_CITATION = re.compile(r"\bspec(?:ification)?s?(?:,| of)?(?: (?:llm|views|video))?(?:,? sections?)? ?\(?\d+(?:\.\d+)*\b"
                          r"|\bspec (?:llm|views|video)\b|\bspec/\w+\.md,? (?:section )?\d", re.IGNORECASE)


def flowing(text):
    """The text without its line breaks, and without the marks of comments that go on in the next line."""
    return re.sub(r"\s*\n\s*(?:///?<?|#+|\*|\.\\\")?[ \t]*", " ", text)


def citations_name_sections():
    """every citation of a specification names a section that exists"""
    sections = {name: set(re.findall(r"^##+ (\d+(?:\.\d+)*)\b", (SOURCE / f"docs/spec/{name}.md").read_text(), re.M))
                for name in ("llm", "views", "video")}
    found = []
    seen = {name: 0 for name in sections}
    for file in tracked("."):
        try:
            text = flowing(file.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # binary
        for name, numbers in CITATION.findall(text):
            for number in re.findall(r"\d+(?:\.\d+)*", numbers):
                seen[name] += 1
                if number not in sections[name]:
                    found.append(f"{file.relative_to(SOURCE)}: spec/{name} {number}: no such section")
        found += [f"{file.relative_to(SOURCE)}: {old.group()}: cite as spec/views 2.2 does"
                  for old in OLD_CITATION.finditer(text)]
    expect(not found, *found)
    expect(all(seen.values()), f"citations seen: {seen}: the expression is wrong")
    for start, end in (("spec", " 2.2"), ("Specification", " 2.2"), ("spec", " views 2.2"), ("spec", ", section 13"),
                       ("spec/llm", ".md section 13")):
        old = start + end  # apart, or this file would cite so
        expect(OLD_CITATION.search(old), f"not taken for an old citation: {old}")
    listed = CITATION.findall(flowing("// spec/llm\n  /// 2.2, 2.3 to 5; 7"))
    expect(listed == [("llm", " 2.2, 2.3 to 5")], listed)


def dev(arguments, programs=None, environment=None):
    """Runs a copy of ./dev in an empty folder, with `programs` (name: shell text) before the real ones."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(SOURCE / "dev", folder)
        os.mkdir(f"{folder}/bin")
        for name, text in (programs or {}).items():
            with open(f"{folder}/bin/{name}", "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n" + text + "\n")
            os.chmod(file.name, 0o755)
        variables = {name: value for name, value in os.environ.items()
                     if not name.startswith("LACT_") and name != "CI"}
        variables.update(environment or {}, PATH=f"{folder}/bin:{variables['PATH']}")
        return subprocess.run(["./dev", *arguments], cwd=folder, env=variables, capture_output=True,
                              text=True, check=False)


def links_resolve():
    """every link of a page to a file of the tree leads to one"""
    pages = [page for page in tracked("*.md") if not str(page.relative_to(SOURCE)).startswith((".github/", "tests/"))]
    leads = [(page, link) for page in pages for link in links(page)]
    expect(len(leads) > 20, f"only {len(leads)} links seen: the expression is wrong")
    known = {str(file.relative_to(SOURCE)) for file in tracked(".")}
    known |= {parent for name in known for parent in map(str, pathlib.PurePath(name).parents)}
    found = [f"{page.relative_to(SOURCE)}: {link}" for page, link in leads
             if os.path.relpath((page.parent / link).resolve(), SOURCE.resolve()) not in known]
    expect(not found, *found)


def versions():
    """{what: value} of the table in RELEASING.md."""
    rows = re.findall(r"^\| ([\w. ]+?) \| ([\d.]+) \|", (SOURCE / "RELEASING.md").read_text(), flags=re.M)
    return dict(rows)


def versions_agree():
    """every place that RELEASING.md names has the version of its table"""
    places = [  # what, where, expression with the version
        ("lact", "meson.build", r"^project\('lact', 'cpp', version: '([^']+)'"),
        ("lact", "debian/changelog", r"\Alact \(([^)]+)\)"),
        ("lact", "CHANGELOG.md", r"\A# Changes\n\n## (\S+)"),
        ("lact", "CITATION.cff", r"^version: (\S+)$"),
        ("plugin interface", "libs/lact/include/lact/plugin/abi.h", r"^#define LACT_PLUGIN_ABI (\d+)u$"),
        ("liblact.so", "libs/lact/meson.build", r"soversion: '(\d+)'"),
        ("LibTorch", "dev", r"^torch=(\S+)$"),
        ("LibTorch", "README.md", r"torch(?:==|` )(\d+\.\d+\.\d+)"),
        ("LibTorch", "HACKING.md", r"torch==(\d+\.\d+\.\d+)"),
        ("LibTorch", "debian/lact.README.Debian", r"torch==(\d+\.\d+\.\d+)"),
        ("packed data", "plugins/common/packed/*.cpp", r'"lact\.version", "(\d+)"'),
        ("states", "libs/lact/src/io/state.cpp", r'kVersion = "(\d+)"'),
        ("manifest of a checkpoint", "libs/lact/src/io/checkpoint_store.cpp", r"kManifestVersion = (\d+)"),
    ]
    table = versions()
    expect(set(table) == {what for what, _, _ in places}, sorted(table))
    found = []
    for what, where, expression in places:
        values = {value for file in tracked(where) for value in re.findall(expression, file.read_text(), flags=re.M)}
        if values != {table[what]}:
            found.append(f"{where}: {what} is {', '.join(sorted(values)) or 'not there'}, RELEASING.md has {table[what]}")
    for page in tracked("man/*.[1-9]"):
        named = re.search(r"^\.Os lact (\S+)$", page.read_text(), flags=re.M)
        if named and named.group(1) != table["lact"]:
            found.append(f"{page.name}: {named.group(1)}")
    expect(not found, *found)


def git(*arguments):
    """The lines that git prints; none where it cannot: no repository, no git."""
    try:
        result = subprocess.run(["git", "-C", SOURCE, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return result.stdout.splitlines() if result.returncode == 0 else []


LONGEST_SUBJECT = 72
UNFINISHED = re.compile(r"(?:fixup|squash|amend)!|\bwip\b", re.I)


def bad_subjects(subjects):
    """Those that are too long or of unfinished work."""
    return [subject for subject in subjects if len(subject) > LONGEST_SUBJECT or UNFINISHED.search(subject)]


def subjects_are_short():
    """since this rule, the subject of every commit has at most 72 characters and is of finished work"""
    expect(len(bad_subjects(["wip", "fixup! io", "x" * 73])) == 3, "the rule finds nothing")
    expect(bad_subjects(["x" * 72, "io/zip: wipe what was read"]) == [], "the rule finds too much")
    if git("rev-parse", "--is-shallow-repository") != ["false"]:
        print("skipped: subjects of commits: no git, no repository or a shallow one")
        return
    rule = git("log", "--format=%H", "-S", "def subjects_are_short", "--", "tests/house/tree_test.py")
    if not rule:
        print("skipped: subjects of commits: the rule is not committed yet")
        return
    later = git("log", "--format=%s", "--ancestry-path", f"{rule[-1]}..HEAD")
    expect(not bad_subjects(later), *bad_subjects(later))


FORBIDDEN = {name: "echo installed >&2; exit 99" for name in ("apt-get", "sudo", "pip")}


def dev_names_what_is_missing():
    """./dev --no-install names the missing packages and installs nothing"""
    for arguments, environment in ((["build", "--no-install"], {}), (["build"], {"LACT_NO_INSTALL": "1"})):
        result = dev(arguments, {**FORBIDDEN, "dpkg-query": "printf 'installed:git '"}, environment)
        expect(result.returncode == 1, result)
        expect(" g++ " in result.stderr and " git " not in result.stderr, result.stderr)
        expect("installed" not in result.stderr.replace("installed:", ""), result.stderr)


def dev_test_takes_long():
    """./dev test takes --long, and no other command does"""
    result = dev(["test", "--long"], {**FORBIDDEN, "dpkg-query": ":"}, {"LACT_NO_INSTALL": "1"})
    expect(result.returncode == 1 and " clang " in result.stderr, result)
    expect(dev(["build", "--long"], FORBIDDEN).returncode == 64, "build --long")


def dev_names_a_missing_wheel():
    """./dev --no-install names LibTorch's wheel when only that is missing"""
    everything = 'shift 3; for name; do printf "installed:%s " "$name"; done'
    result = dev(["build", "--no-install"], {**FORBIDDEN, "dpkg-query": everything})
    expect(result.returncode == 1 and "torch==" in result.stderr, result)


def dev_checks_a_given_libtorch():
    """./dev --libtorch with a folder that holds none says so"""
    everything = 'shift 3; for name; do printf "installed:%s " "$name"; done'
    result = dev(["build", "--libtorch", "bin"], {**FORBIDDEN, "dpkg-query": everything})
    expect(result.returncode == 1 and "libtorch_cpu.so" in result.stderr, result)


def dev_refuses_unknown_words():
    """./dev with an unknown command or option exits 64, and help exits 0"""
    expect(dev(["frobnicate"]).returncode == 64)
    expect(dev(["--frobnicate"]).returncode == 64)
    expect(dev([]).returncode == 64)
    expect(dev(["help"]).returncode == 0)


def adding_up():
    """a program that died counts as a failure, a skipped one as nothing; what failed is repeated"""
    passed, failed, remarks = add_up.add_up([
        '{"name": "good", "result": "OK", "stdout": "x\\ntests: 3 passed, 0 failed\\n"}',
        '{"name": "bad", "result": "FAIL", "stdout": "why\\ntests: 1 passed, 2 failed\\n"}',
        '{"name": "died", "result": "FAIL"}',
        '{"name": "skipped", "result": "SKIP", "stdout": "tests: 0 passed, 0 failed\\n"}',
        '{"name": "late crash", "result": "ERROR", "stdout": "tests: 4 passed, 0 failed\\n"}',
        '{"name": "silent", "result": "OK", "stdout": "tests: many passed\\n"}'])
    expect((passed, failed) == (8, 5), passed, failed)
    expect("bad failed; its last lines:" in remarks and "  why" in remarks, remarks)


if __name__ == "__main__":
    if sys.argv[1:] == ["--arrows"]:
        print_arrows()
        sys.exit()
    main([no_machine_paths, narrow_headers, headers_are_guarded, rooms_include_upwards, plugin_rooms_include_upwards,
          rooms_include_one_way, core_knows_no_modality, heavy_libraries_have_their_place, c10d_is_known_to_one_file, plugins_stay_apart,
          tools_stay_thin, dev_names_what_is_missing, dev_test_takes_long, dev_names_a_missing_wheel,
          dev_checks_a_given_libtorch, dev_refuses_unknown_words, links_resolve, citations_name_sections,
          versions_agree, subjects_are_short, adding_up])
