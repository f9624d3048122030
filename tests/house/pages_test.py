#!/usr/bin/env python3
"""Man pages say what the programs do: page and --help name the same options, in both directions."""

import os
import re
import resource
import shutil
import subprocess

from sentences import BUILD, SOURCE, expect, main

TOOLS = sorted(main_file.parent.name for main_file in SOURCE.glob("tools/*/main.cpp"))
PAGES = sorted(page.stem for page in SOURCE.glob("man/*.1"))
INSTRUMENTED = "LACT_TEST_INSTRUMENTED" in os.environ  # sanitizers or coverage: time is not the program's own
HELP_SECONDS = 0.5  # promised to users; LibTorch's own start is half of it


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


def section(page, name):
    """The lines of a page's section (.Sh) of that name."""
    parts = re.split(r"^\.Sh (.*)$", (SOURCE / f"man/{page}.1").read_text(), flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2]))
    expect(name in sections, f"{page}.1 has no section {name}")
    return sections[name]


def subsections(page):
    """{title: text} of the section OPTIONS: "Common options", perhaps "Every modality", and one per form."""
    parts = re.split(r"^\.Ss (.*)$", section(page, "OPTIONS"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def options_of_page(text):
    """The options that the items of a list describe: `.It Fl o , Fl -output Ar DIR`."""
    found = set()
    for item in re.findall(r"^\.It (.*)$", text, flags=re.M):
        found.update("-" + name for name in re.findall(r"\bFl (-?[\w-]+)", item))
    return found


def forms(page):
    """[(words, options)] for every form of a command that its page describes."""
    parts = subsections(page)
    common = options_of_page(parts.pop("Common options"))
    common |= options_of_page(parts.pop("Every modality", ""))
    expect(parts, f"{page}.1 describes no form of the command")
    return [(title.split(), common | options_of_page(text)) for title, text in parts.items()]


def a_page_for_each_tool():
    """every tool has a page, and every page a tool"""
    expect(TOOLS == PAGES, f"tools: {TOOLS}", f"pages: {PAGES}")


def mandoc_is_content():
    """mandoc finds nothing to warn of in any page"""
    expect(shutil.which("mandoc"), "mandoc is not installed")
    for page in PAGES:
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", f"man/{page}.1"], cwd=SOURCE,
                                capture_output=True, text=True, check=False)
        expect(result.returncode == 0, result.stdout)


def references_lead_somewhere():
    """every page of ours that a page refers to exists"""
    for page in PAGES:
        for name in re.findall(r"^\.Xr (lact-\w+) 1", (SOURCE / f"man/{page}.1").read_text(), flags=re.M):
            expect(name in PAGES and name != page, f"{page}.1 refers to {name}")


def nothing_undescribed():
    """every option that --help lists is in the page"""
    missing = [f"{page} {' '.join(words)}: {sorted(lacking)}" for page in PAGES for words, known in forms(page)
               if (lacking := options_of_help(page, words) - known)]
    expect(not missing, "not described:", *missing)


def nothing_invented():
    """every option that a page describes is in --help"""
    missing = [f"{page} {' '.join(words)}: {sorted(lacking)}" for page in PAGES for words, known in forms(page)
               if (lacking := known - options_of_help(page, words))]
    expect(not missing, "described, but not there:", *missing)


def listed(title, *command):
    """The words in the first column of a table of `COMMAND --help`."""
    table = re.search(rf"^{title}:\n((?:  \S.*\n)+)", program(*command, "--help").stdout, flags=re.M)
    return re.findall(r"^  (\S+)", table.group(1), flags=re.M) if table else []


def no_verb_left_out():
    """every modality and verb that a program lists is described in its page"""
    for page in PAGES:
        described = [words for words, _ in forms(page)]
        modalities = listed("Modalities", page)
        found = [[verb] for verb in listed("Verbs of its own", page)]
        for verb in listed("Verbs before a modality", page):
            found += [[verb, modality] for modality in listed("Modalities", page, verb)]
        for modality in modalities:
            found += [[modality, verb] for verb in listed("Verbs", page, modality)] or [[modality]]
        expect(sorted(found) == sorted(described), f"{page} has {found}", f"{page}.1 describes {described}")


def common_parts_are_common():
    """what is common to all programs reads the same in every page"""
    for part in (lambda page: subsections(page)["Common options"], lambda page: section(page, "ENVIRONMENT"),
                 lambda page: section(page, "EXIT STATUS")):
        texts = {part(page).strip() for page in PAGES}
        expect(len(texts) <= 1, "differs between pages:", *texts)


def exit_codes_are_the_headers():
    """the exit codes of the pages are those of lact/error.hpp"""
    header = (SOURCE / "libs/lact/include/lact/error.hpp").read_text()
    codes = set(re.findall(r"^ +\w+ = (\d+),", header, flags=re.M))
    expect(len(codes) > 5, codes)
    for page in PAGES:
        named = set(re.findall(r"^\.It (\d+)$", section(page, "EXIT STATUS"), flags=re.M))
        expect(named == codes, f"{page}.1: {sorted(named)}", f"error.hpp: {sorted(codes)}")


def processor_seconds():
    """Of all child processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def help_is_quick():
    """every --help and --version is there within half a second"""
    for page in PAGES:
        for words in [[], *(words for words, _ in forms(page))]:
            for option in ("--help", "--version"):
                seconds = HELP_SECONDS
                for _ in range(3):  # the best of three: a busy host slows a single one
                    start = processor_seconds()  # other programs may run beside this one
                    result = program(page, *words, option)
                    seconds = min(seconds, processor_seconds() - start)
                    if seconds < HELP_SECONDS:
                        break
                command = " ".join([page, *words, option])
                expect(result.returncode == 0 and result.stdout and not result.stderr, f"{command}:", result)
                expect(seconds < HELP_SECONDS or INSTRUMENTED, f"{command}: {seconds:.2f} s")


if __name__ == "__main__":
    main([a_page_for_each_tool, mandoc_is_content, references_lead_somewhere, nothing_undescribed,
          nothing_invented, no_verb_left_out, common_parts_are_common, exit_codes_are_the_headers,
          help_is_quick])
