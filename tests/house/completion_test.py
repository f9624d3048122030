#!/usr/bin/env python3
"""bash, zsh and fish complete what --help lists: the installed scripts, in the real shells."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from pages_test import TOOLS, forms, options_of_help
from sentences import BUILD, expect, main

SCRIPTS = BUILD / "completions"
HERE = pathlib.Path(__file__).parent

# Sources the script, calls the function as bash does, prints the candidates. bash hands over
# --name=value as three words.
BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
"_${COMP_WORDS[0]//-/_}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def shell(*command, cwd=None, **variables):
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
                            cwd=cwd, env={**os.environ, "TERM": "dumb", **variables}, timeout=60)
    expect(not result.stderr, *command, result.stderr)
    return [line for line in result.stdout.splitlines() if line]


def bash(words, cwd=None):
    return set(shell("bash", "--norc", "-c", BASH, "bash", SCRIPTS / words[0], *words, cwd=cwd))


def zsh(words, cwd=None):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(SCRIPTS / f"_{words[0]}", folder)
        line = " ".join(words).replace(" = ", "=")
        return set(shell("zsh", "-f", HERE / "capture.zsh", folder, line, cwd=cwd))


def fish(words, cwd=None):
    line = " ".join(words).replace(" = ", "=")
    with tempfile.TemporaryDirectory() as home:
        offers = shell("fish", "--no-config", "-c", f"source {SCRIPTS}/{words[0]}.fish; complete -C '{line}'", cwd=cwd,
                       HOME=home)
    return {offer.split("\t")[0] for offer in offers}


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def scripts_parse():
    """every script is well-formed in the eyes of its shell"""
    for tool in TOOLS:
        for name, file in (("bash", tool), ("zsh", f"_{tool}"), ("fish", f"{tool}.fish")):
            expect(shutil.which(name), f"{name} is not installed")
            shell(name, "-n", SCRIPTS / file)


def every_long_option(name):
    for tool in TOOLS:
        for words, _ in forms(tool):
            known = {option for option in options_of_help(tool, words) if option.startswith("--")}
            offered = {option.rstrip("=") for option in SHELLS[name]([tool, *words, "--"])}
            expect(known == {option for option in offered if option.startswith("--")},
                   f"{name}: {tool} {' '.join(words)}", f"not offered: {sorted(known - offered)}",
                   f"not in --help: {sorted(offered - known)}")


def every_long_option_in_bash():
    """bash offers exactly the long options that --help lists, for every form of every command"""
    every_long_option("bash")


def every_long_option_in_zsh():
    """zsh offers exactly the long options that --help lists, for every form of every command"""
    every_long_option("zsh")


def every_long_option_in_fish():
    """fish offers exactly the long options that --help lists, for every form of every command"""
    every_long_option("fish")


def words_and_values():
    """modalities, verbs, values, files and folders are completed, each where it belongs, in every shell"""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a file.txt").touch()
        pathlib.Path(folder, "a-folder").mkdir()
        cases = [
            (["lact-train", "te"], {"text"}),
            (["lact-train", ""], {"text", "video", "views"}),
            (["lact-bench", "pl"], {"plot", "plugins"}),
            (["lact-tokenize", "text", ""], {"train", "encode", "decode", "info", "recall"}),
            (["lact-tokenize", "text", "e"], {"encode"}),
            (["lact-tokenize", "views", ""], {"pack", "info", "objects"}),
            (["lact-tokenize", "video", ""], {"pack", "info", "digits", "pan"}),
            (["lact-generate", "vi"], {"video"}),
            (["lact-generate", "video", "--sampler", ""], {"unipc", "euler"}),
            (["lact-bench", "quality", "vi"], {"video", "views"}),
            (["lact-render", "vi"], {"views"}),
            (["lact-render", "views", "--blend", ""], {"linear", "slerp"}),
            (["lact-tokenize", "--seed", "7", "--device", "text", "-v", "text", "tr"], {"train"}),
            (["lact-tokenize", "--dtype", "fl"], {"float32"}),
            (["lact-tokenize", "text", "train", "--model-type", ""], {"unigram", "bpe", "char", "word"}),
            (["lact-train", "text", "--dtype", "=", "b"], {"bfloat16"}),
            (["lact-train", "text", "--plugin-dir", "a"], {"a-folder"}),
            (["lact-generate", "text", "--prompt-file", "a"], {"a file.txt", "a-folder"}),
            (["lact-tokenize", "text", "encode", "a"], {"a file.txt", "a-folder"}),
            (["lact-train", "text", "--steps", ""], set()),  # a number: no file is meant
            (["lact-train", "text", "a"], set()),
        ]
        for name, complete in SHELLS.items():
            for words, wanted in cases:
                offers = {offer.rstrip("/").replace("\\", "") for offer in complete(words, cwd=folder)}
                offers = {offer.split("=")[-1] for offer in offers}  # fish repeats the option
                expect(offers == wanted, f"{name}: {' '.join(words)}: {offers}", f"expected {wanted}")


if __name__ == "__main__":
    main([scripts_parse, every_long_option_in_bash, every_long_option_in_zsh, every_long_option_in_fish,
          words_and_values])
