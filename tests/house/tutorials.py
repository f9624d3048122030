"""The blocks of docs/tutorials, and what runs them."""

import re
import subprocess

from sentences import SOURCE, expect


def blocks(name):
    """[(kind, text)] of every fenced block of a tutorial, in order: ("sh", ...), ("sh download", ...), ("text", ...)."""
    text = (SOURCE / f"docs/tutorials/{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", text, flags=re.M | re.S)


def commands(name, kind="sh"):
    """All blocks of that kind, as one script."""
    return "".join(text for found, text in blocks(name) if found == kind)


def shape(line):
    """A line without what another machine or other data change: numbers with their units, and widths of columns."""
    line = re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?(?: ?[KMGT]i?B?\b| ?B\b| ?[KMGT]?FLOP\b)?", "#", line)
    line = re.sub(r"#(?:-?#)+", "#", line)  # from one number to another
    line = re.sub(r"\b(document|scene|view|film|clip|cut|frame)s?\b", r"\1", line)
    return re.sub(r"\s+", " ", line.replace("bfloat16", "TYPE").replace("float32", "TYPE")).strip()


def run(name, folder, variables):
    """Runs the commands of a tutorial in a folder, with nothing in their environment but `variables`, and checks that it
    ends with 0 and prints every line that the tutorial shows, but for numbers. Returns what was printed."""
    everything = {"LC_ALL": "C.UTF-8", "TERM": "dumb", **{key: str(value) for key, value in variables.items()}}
    result = subprocess.run(["sh", "-euc", commands(name)], cwd=folder, env=everything, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    tail = result.stdout.splitlines()[-20:]
    expect(result.returncode == 0, f"{name}.md: its commands end with {result.returncode}:", *tail)
    printed = {shape(line) for line in result.stdout.splitlines()}
    shown = [line for kind, text in blocks(name) if kind == "text" for line in text.splitlines() if line != "..."]
    missing = [line for line in shown if not any(shape(line) in line_printed for line_printed in printed)]
    expect(not missing, f"{name}.md shows lines that nothing printed:", *missing)
    return result.stdout


def named_files(name):
    """What the text of a tutorial calls a file or folder that is there at the end: `run/`, `loss.svg`, ..., if a command
    names it too."""
    script = commands(name)
    prose = re.sub(r"^```.*?^```$", "", (SOURCE / f"docs/tutorials/{name}.md").read_text(), flags=re.M | re.S)
    words = re.findall(r"`([\w][\w./-]*(?:/|\.\w+))`", prose)
    return sorted({word for word in words if re.search(rf"(?<![\w/.]){re.escape(word)}", script)})


def written_files(name):
    """Every file or folder that a command of a tutorial writes: after -o, >, --save-state, --sheet, --out and --plot."""
    return re.findall(r"(?:\s-o|>|--save-state|--sheet|--out|--plot) +([\w][\w./-]*)", commands(name))
