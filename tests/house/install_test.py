#!/usr/bin/env python3
"""What `meson install` puts somewhere works after it was moved, and tells nothing of where it was built."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tutorials
from sentences import BUILD, LIBTORCH, SOURCE, expect, links, main

NAMED = os.environ.get("LACT_TEST_NAMED_LIBTORCH", "")  # by -Dlibtorch: the programs know it
TOOLS = ("lact-bench", "lact-generate", "lact-render", "lact-tokenize", "lact-train")
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="lact-install-"))
PREFIX = FOLDER / "moved"
TEXT = SOURCE / "HACKING.md"


def run(*command, **environment):
    """Runs a program with nothing in its environment but what is given."""
    variables = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([str(word) for word in command], cwd=FOLDER, env=variables, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)


def tool(name, *arguments):
    result = run(PREFIX / "bin" / name, *arguments, LACT_LIBTORCH=LIBTORCH)
    expect(result.returncode == 0, f"{name} {arguments}:", result.stderr)
    return result.stdout


def refused(*expected, **environment):
    """A tool says in one line that all of `expected` is so, and ends with 69."""
    result = run(PREFIX / "bin/lact-bench", "plugins", **environment)
    expect(result.returncode == 69 and result.stdout == "", result)
    expect(result.stderr.startswith("lact-bench: error: ") and result.stderr.count("\n") == 1, result.stderr)
    for part in expected:
        expect(str(part) in result.stderr, f"not said: {part}", result.stderr)


def library():
    """The folder of liblact in the installation."""
    found = list(PREFIX.glob("lib*/**/liblact.so.0"))
    expect(len(found) == 1, found)
    return found[0].parent


def listing(pattern):
    return sorted(file.name for file in PREFIX.glob(pattern))


def everything_is_there():
    """binaries, library, plugins, headers, pages, completion and a pkg-config file are installed, and then moved"""
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], check=True,
                   env={**os.environ, "DESTDIR": str(FOLDER / "stage")}, stdout=subprocess.DEVNULL)
    prefixes = [file.parents[1] for file in (FOLDER / "stage").glob("**/bin/lact-train")]
    expect(len(prefixes) == 1, prefixes)
    prefixes[0].rename(PREFIX)
    expect(listing("bin/*") == sorted(TOOLS), listing("bin/*"))
    pages = {page.name for page in SOURCE.glob("man/*.[1-8]")}
    expect(pages == set(listing("share/man/man*/*")), pages ^ set(listing("share/man/man*/*")))
    expect(listing("lib*/**/plugins/*") == ["lact-text.so", "lact-video.so", "lact-views.so"], listing("lib*/**/plugins/*"))
    for place, name in (("bash-completion/completions", "{}"), ("zsh/site-functions", "_{}"),
                        ("fish/vendor_completions.d", "{}.fish")):
        expect(listing(f"share/{place}/*") == sorted(map(name.format, TOOLS)), listing(f"share/{place}/*"))
    headers = {str(file.relative_to(SOURCE / "libs/lact/include"))
               for file in SOURCE.glob("libs/lact/include/**/*.h*")} | {"lact/plugin/stamp.h"}
    installed = {str(file.relative_to(PREFIX / "include")) for file in PREFIX.glob("include/**/*.h*")}
    expect(installed == headers, sorted(installed ^ headers))
    expect((library() / "pkgconfig/lact.pc").exists(), "no lact.pc")


def documents_are_whole():
    """what a link of an installed page leads to is installed as well"""
    folder = PREFIX / "share/doc/lact"
    pages = sorted(folder.rglob("*.md"))
    expect({"README.md", "HACKING.md"} <= {page.name for page in pages}, pages)
    leads = [(page, link) for page in pages for link in links(page)]
    expect(len(leads) > 20, f"only {len(leads)} links seen: the expression is wrong")
    found = [f"{page.relative_to(folder)}: {link}" for page, link in leads
             if not (page.parent / link).exists() or not (page.parent / link).resolve().is_relative_to(folder.resolve())]
    expect(not found, *found)


def no_build_paths():
    """no installed file names the source tree, the build tree or the LibTorch of the set-up"""
    places = {SOURCE.resolve(), BUILD.resolve(), *([] if NAMED else [pathlib.Path(LIBTORCH).resolve()])}
    places = [os.fsencode(place) for place in places]
    found = [f"{file.relative_to(PREFIX)}: {place.decode()}" for file in PREFIX.rglob("*")
             if file.is_file() for place in places if place in file.read_bytes()]
    expect(not found, *found)
    for file in [*PREFIX.glob("bin/*"), *library().glob("**/*.so*")]:
        dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout
        for path in re.findall(r"(?:RUNPATH|RPATH).*\[(.*)\]", dynamic):
            expect(all(part.startswith("$ORIGIN") for part in path.split(":")), f"{file}: {path}")


def files_are_hardened():
    """every installed program and library is position independent, without executable stack or text relocations"""
    for file in [*PREFIX.glob("bin/*"), *library().glob("**/*.so*")]:
        headers = subprocess.run(["readelf", "-hldW", file], capture_output=True, text=True, check=True).stdout
        expect(re.search(r"Type: +DYN", headers), f"{file}: not position independent")
        expect(re.search(r"GNU_STACK.* RW +0x", headers), f"{file}: executable stack")
        expect("TEXTREL" not in headers, f"{file}: text relocations")
        expect("GNU_RELRO" in headers and "BIND_NOW" in headers, f"{file}: no full RELRO")


def the_pipeline_runs():
    """the moved tools learn a tokenizer, pack, train, write a state and go on from it"""
    expect("language models" in tool("lact-bench", "plugins"), "no text plugin")
    tool("lact-tokenize", "text", "train", "--model-type", "bpe", "--vocab-size", "400", "-o", "t.model", TEXT)
    tool("lact-tokenize", "text", "encode", "--model", "t.model", "-o", "data", TEXT)
    tool("lact-train", "text", "--preset", "tiny", "--data", "data", "-o", "run", "--steps", "1", "--seq-len", "64",
         "--batch-size", "1", "--lact-chunk-size", "32", "--window-size", "32", "--dtype", "float32")
    tool("lact-generate", "text", "--model", "run", "-p", "The", "-n", "2", "--temp", "0", "--save-state", "s.state")
    tool("lact-generate", "text", "--model", "run", "--state", "s.state", "-n", "2", "--temp", "0")


def without_libtorch():
    """without LibTorch every tool says where it looked, what to do, and ends with 69"""
    if not NAMED:
        refused("LibTorch 2.", "was not found", library() / "lact/libtorch", "pip install torch==2.",
                "LACT_LIBTORCH")
    refused("LACT_LIBTORCH: /nowhere has no lib/libtorch_cpu.so", LACT_LIBTORCH="/nowhere")


def libtorch_in_each_place():
    """LibTorch is found in an activated environment of Python, and in lib/lact/libtorch"""
    site = FOLDER / "venv/lib/python3.99/site-packages"
    site.mkdir(parents=True)
    (site / "torch").symlink_to(LIBTORCH)
    result = run(PREFIX / "bin/lact-bench", "plugins", VIRTUAL_ENV=FOLDER / "venv")
    expect(result.returncode == 0, result)
    link = library() / "lact/libtorch"
    link.symlink_to(LIBTORCH)
    result = run(PREFIX / "bin/lact-bench", "plugins")
    link.unlink()
    expect(result.returncode == 0, result)


def another_libtorch():
    """a LibTorch of another version, or a broken one, is refused with both versions or the reason"""
    other = FOLDER / "other"
    (other / "include/torch").mkdir(parents=True)
    (other / "lib").mkdir()
    (other / "include/torch/version.h").write_text('#define TORCH_VERSION "1.13.0"\n')
    (other / "lib/libtorch_cpu.so").write_text("not a library\n")
    refused(f"LibTorch in {other} is 1.13.0, this program was built for 2.", LACT_LIBTORCH=other)
    (other / "include/torch/version.h").unlink()
    refused(f"LibTorch in {other} does not load: ", LACT_LIBTORCH=other)


def half_an_installation():
    """a program without its library says so and ends with 69"""
    moved = FOLDER / "liblact"
    file = library() / "liblact.so.0"
    file.rename(moved)
    try:
        refused("the installation is incomplete: liblact.so.0", LACT_LIBTORCH=LIBTORCH)
    finally:
        moved.rename(file)


def pkg_config(*arguments):
    result = run("pkg-config", f"--define-variable=libtorch={LIBTORCH}", *arguments, "lact",
                 PKG_CONFIG_PATH=library() / "pkgconfig")
    expect(result.returncode == 0, result.stderr)
    return result.stdout.split()


def every_header_alone():
    """every installed header compiles alone with the flags of pkg-config"""
    flags = pkg_config("--cflags")
    expect(pathlib.Path(flags[0][2:]).resolve() == (PREFIX / "include").resolve(), flags)
    jobs = []
    for header in sorted(PREFIX.glob("include/**/*.h*")):
        language = "c" if header.name == "abi.h" else "c++"
        standard = "c11" if language == "c" else "c++20"
        jobs.append((header, ["c++", "-x", language, f"-std={standard}", "-fsyntax-only", "-Wall", "-Wextra",
                              "-Werror", *flags, "-include", str(header), "/dev/null"]))
    expect(len(jobs) > 20, jobs)
    failures = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (header, _), result in zip(jobs, pool.map(lambda job: run(*job[1]), jobs)):
            if result.returncode != 0:
                failures += [str(header), result.stderr]
    expect(not failures, *failures)


def a_modality_from_outside():
    """the tutorial on plugins builds a fourth modality from headers and pkg-config alone; it trains, beats 'unchanged', and
    generates"""
    installed = PREFIX / "share/doc/lact/examples/plugin"
    shutil.copytree(installed, FOLDER / "plugin")
    printed = tutorials.run("plugin", FOLDER, {
        "PATH": f"{PREFIX / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1", "LACT_LIBTORCH": LIBTORCH, "STEPS": 60,
        "PKG_CONFIG_PATH": library() / "pkgconfig", "MAKEFLAGS": "-j2"})
    expect(not re.search(r"\.[ch]pp:\d+.*warning", printed), printed)
    rows = re.findall(r"^-?[\d.e-]+,-?[\d.e-]+$", printed, flags=re.M)
    expect(len(rows) == 20, f"{len(rows)} rows", printed)
    continued = (FOLDER / "plugin/continued.csv").read_text().splitlines()
    expect(len(continued) >= 100, f"{len(continued)} lines in continued.csv")
    metrics = [json.loads(line) for line in (FOLDER / "plugin/run/metrics.jsonl").read_text().splitlines()]
    loss, unchanged = (metrics[-1][f"validation_metrics/{name}"] for name in ("loss", "unchanged"))
    expect(loss < unchanged, f"loss {loss}, unchanged {unchanged}")


def a_modality_from_outside_is_listed():
    """LACT_PLUGIN_PATH makes it appear in --help and lact-bench plugins, and bad CSV is one line and 65"""
    variables = {"LACT_LIBTORCH": LIBTORCH, "LACT_PLUGIN_PATH": FOLDER / "plugin"}
    listed = run(PREFIX / "bin/lact-bench", "plugins", **variables).stdout
    expect("series: sensor series from CSV" in listed and "text: " in listed, listed)
    expect("series" in run(PREFIX / "bin/lact-train", "--help", **variables).stdout, "not in --help")
    (FOLDER / "bad.csv").write_text("a,b\n1,2\n1,nan\n")
    result = run(PREFIX / "bin/lact-train", "series", "--data", "bad.csv", "-o", "bad", **variables)
    expect(result.returncode == 65, result)
    expect(result.stderr == "lact-train: error: bad.csv:3: 'nan' is no finite number\n", result.stderr)


if __name__ == "__main__":
    if "LACT_TEST_INSTRUMENTED" in os.environ:  # nobody installs a build with sanitizers or counters
        shutil.rmtree(FOLDER)
        sys.exit(77)
    try:
        main([everything_is_there, documents_are_whole, no_build_paths, files_are_hardened, the_pipeline_runs, without_libtorch,
              libtorch_in_each_place, another_libtorch, half_an_installation, every_header_alone, a_modality_from_outside,
              a_modality_from_outside_is_listed])
    finally:
        shutil.rmtree(FOLDER)
