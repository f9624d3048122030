#!/usr/bin/env python3
"""Man pages say what the programs do: page and --help name the same options, in both directions."""

import os
import re
import resource
import shutil
import subprocess

from sentences import BUILD, SOURCE, expect, main

TOOLS = sorted(main_file.parent.name for main_file in SOURCE.glob("tools/*/main.cpp"))
PAGES = {page.stem: page for page in sorted(SOURCE.glob("man/*.[1-8]"))}
SHARED = "lact-options"  # what all programs share: options, environment, exit codes
LINES = 400  # of a page: a longer one is split
REDEFINED = {"verify": {"--dtype"}}  # common options to which a form gives other values
INSTRUMENTED = "LACT_TEST_INSTRUMENTED" in os.environ  # sanitizers or coverage: time is not the program's own
HELP_SECONDS = 0.1  # promised to users


def program(tool, *arguments):
    return subprocess.run([BUILD / "tools" / tool, *arguments], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)


def options_of_help(tool, words):
    """The options that `TOOL WORDS --help` lists: {"-o", "--output", ...}."""
    result = program(tool, *words, "--help")
    expect(result.returncode == 0 and not result.stderr, f"{tool} {' '.join(words)} --help:", result)
    found = set()
    for line in result.stdout.splitlines():
        if re.match(r" {2,8}-", line):  # text that goes on stands further right
            names = re.match(r" *(-[\w-]+(?:, ?-[\w-]+)*)", line).group(1)
            found.update(re.split(r", ?", names))
    return found


def pages_of(tool):
    """The pages of a tool: "lact-train", "lact-train-text", ..."""
    return [page for page in PAGES if page == tool or page.startswith(tool + "-")]


def sections(page):
    """{title: text} of the sections (.Sh) of a page."""
    parts = re.split(r"^\.Sh (.*)$", PAGES[page].read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def section(page, name):
    """The lines of a page's section of that name."""
    expect(name in sections(page), f"{PAGES[page].name} has no section {name}")
    return sections(page)[name]


def subsections(page):
    """{title: text} of the section OPTIONS: "Common options" or "Every modality", and one per form."""
    parts = re.split(r"^\.Ss (.*)$", sections(page).get("OPTIONS", ""), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def options_of_page(text):
    """The options that the items of a list describe: `.It Fl o , Fl -output Ar DIR`."""
    found = set()
    for item in re.findall(r"^\.It (.*)$", text, flags=re.M):
        found.update("-" + name for name in re.findall(r"\bFl (-?[\w-]+)", item))
    return found


def forms(tool):
    """[(words, options)] for every form of a command that the tool's pages describe."""
    common = options_of_page(subsections(SHARED)["Common options"])
    parts = [part for page in pages_of(tool) for part in subsections(page).items()]
    for title, text in parts:
        if title == "Every modality":
            common |= options_of_page(text)
    found = [(title.split(), common | options_of_page(text)) for title, text in parts if title != "Every modality"]
    expect(found, f"no page of {tool} describes a form of the command")
    return found


def a_page_for_each_tool():
    """every tool has a page, and every page belongs to a tool or to all of them"""
    missing = [tool for tool in TOOLS if tool not in PAGES]
    expect(not missing, "no page:", *missing)
    known = {SHARED, *(page for tool in TOOLS for page in pages_of(tool))}
    expect(set(PAGES) == known, "of no tool:", *(set(PAGES) - known))


def pages_are_short():
    """no page has more than 400 lines"""
    long = [f"{page.name}: {lines}" for page in PAGES.values() if (lines := len(page.read_text().splitlines())) > LINES]
    expect(not long, *long)


def mandoc_is_content():
    """mandoc finds nothing to warn of in any page"""
    expect(shutil.which("mandoc"), "mandoc is not installed")
    for page in PAGES.values():
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page.relative_to(SOURCE)], cwd=SOURCE,
                                capture_output=True, text=True, check=False)
        expect(result.returncode == 0, result.stdout)


def references_lead_somewhere():
    """every page of ours that a page refers to exists"""
    for page, file in PAGES.items():
        for name, number in re.findall(r"^\.(?:Pf \S+ )?Xr (lact\S*) (\d)", file.read_text(), flags=re.M):
            there = name in PAGES and PAGES[name].suffix == f".{number}" and name != page
            expect(there, f"{file.name} refers to {name}({number})")


def every_page_is_reached():
    """a tool's page refers to the pages of its modalities, they refer to it, and all to what is shared"""
    for tool in TOOLS:
        for page in pages_of(tool):
            wanted = {SHARED, *(pages_of(tool) if page == tool else [tool])} - {page}
            missing = wanted - set(re.findall(r"^\.Xr (\S+)", section(page, "SEE ALSO"), flags=re.M))
            expect(not missing, f"{PAGES[page].name} does not refer to {sorted(missing)}")


def nothing_undescribed():
    """every option that --help lists is in the page"""
    missing = [f"{tool} {' '.join(words)}: {sorted(lacking)}" for tool in TOOLS for words, known in forms(tool)
               if (lacking := options_of_help(tool, words) - known)]
    expect(not missing, "not described:", *missing)


def nothing_invented():
    """every option that a page describes is in --help"""
    missing = [f"{tool} {' '.join(words)}: {sorted(lacking)}" for tool in TOOLS for words, known in forms(tool)
               if (lacking := known - options_of_help(tool, words))]
    expect(not missing, "described, but not there:", *missing)


def listed(title, *command):
    """The words in the first column of a table of `COMMAND --help`."""
    table = re.search(rf"^{title}:\n((?:  \S.*\n)+)", program(*command, "--help").stdout, flags=re.M)
    return re.findall(r"^  (\S+)", table.group(1), flags=re.M) if table else []


def no_verb_left_out():
    """every modality and verb that a program lists is described in one of its pages, once"""
    for tool in TOOLS:
        described = [words for words, _ in forms(tool)]
        modalities = listed("Modalities", tool)
        found = [[verb] for verb in listed("Verbs of its own", tool)]
        for verb in listed("Verbs before a modality", tool):
            found += [[verb, modality] for modality in listed("Modalities", tool, verb)]
        for modality in modalities:
            found += [[modality, verb] for verb in listed("Verbs", tool, modality)] or [[modality]]
        expect(sorted(found) == sorted(described), f"{tool} has {found}", f"its pages describe {described}")


def a_modality_has_its_page():
    """the page of a tool's modality describes the forms of that modality alone"""
    for tool in TOOLS:
        for page in pages_of(tool):
            modality = page.removeprefix(tool).removeprefix("-")
            strangers = [title for title in subsections(page) if modality and modality not in title.split()]
            expect(not strangers, f"{PAGES[page].name} describes {strangers}")


def common_parts_are_common():
    """what is common to all programs is described in lact-options(7) alone"""
    common = options_of_page(subsections(SHARED)["Common options"])
    for tool in TOOLS:
        for page in pages_of(tool):
            for title, text in subsections(page).items():
                again = common & options_of_page(text) - REDEFINED.get(title, set())
                expect(not again, f"{PAGES[page].name}, {title}: {sorted(again)}")
            for name in ("ENVIRONMENT", "EXIT STATUS"):
                lines = sections(page).get(name, "").split("\n")
                expect(not any(line.startswith(".It") for line in lines), f"{PAGES[page].name} describes {name}")


def exit_codes_are_the_headers():
    """the exit codes of lact-options(7) are those of lact/error.hpp"""
    header = (SOURCE / "libs/lact/include/lact/error.hpp").read_text()
    codes = set(re.findall(r"^ +\w+ = (\d+),", header, flags=re.M))
    expect(len(codes) > 5, codes)
    named = set(re.findall(r"^\.It (\d+)$", section(SHARED, "EXIT STATUS"), flags=re.M))
    expect(named == codes, f"{SHARED}: {sorted(named)}", f"error.hpp: {sorted(codes)}")


def processor_seconds():
    """Of all child processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def help_is_quick():
    """every --help and --version is there within a tenth of a second"""
    for tool in TOOLS:
        for words in [[], *(words for words, _ in forms(tool))]:
            for option in ("--help", "--version"):
                seconds = HELP_SECONDS
                for _ in range(3):  # the best of three: a busy host slows a single one
                    start = processor_seconds()  # other programs may run beside this one
                    result = program(tool, *words, option)
                    seconds = min(seconds, processor_seconds() - start)
                    if seconds < HELP_SECONDS:
                        break
                command = " ".join([tool, *words, option])
                expect(result.returncode == 0 and result.stdout and not result.stderr, f"{command}:", result)
                expect(seconds < HELP_SECONDS or INSTRUMENTED, f"{command}: {seconds:.2f} s")


if __name__ == "__main__":
    main([a_page_for_each_tool, pages_are_short, mandoc_is_content, references_lead_somewhere, every_page_is_reached,
          nothing_undescribed, nothing_invented, no_verb_left_out, a_modality_has_its_page, common_parts_are_common,
          exit_codes_are_the_headers, help_is_quick])
