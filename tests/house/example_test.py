#!/usr/bin/env python3
"""examples/text/Makefile runs from text to text, and goes on where it was stopped; examples/views from models to a film,
examples/video from clips to a film."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from sentences import BUILD, SOURCE, expect, main

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="lact-example-"))
SMALL = ("--hidden-size 32 --num-hidden-layers 1 --num-attn-heads 2 --num-lact-heads 1 --intermediate-size 64 "
         "--lact-chunk-size 32 --window-size 32 --seq-len 64 --batch-size 2 --threads 1 --log-every 1 "
         "--eval-batches 2 --dtype float32")


def make(*arguments, steps=4):
    """Runs the example on the project's own pages, with a model that is trained in seconds."""
    return subprocess.run(
        ["make", "-f", SOURCE / "examples/text/Makefile", f"DIR={FOLDER / 'demo'}", f"DATA={FOLDER / 'texts'}",
         f"TOOLS={BUILD / 'tools'}", f"PYTHON={sys.executable}", "HELD_OUT=CONTRIBUTING.md", "VOCAB=400",
         f"STEPS={steps}", "TOKENS=8", "PROMPT=The", f"TRAIN_OPTIONS={SMALL}", "MEMBERS=none,gd",
         "RECALL_OPTIONS=--set steps=2", *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def commands(result):
    """The tools that make called, in order, with their first two words."""
    lines = [line.strip() for line in result.stdout.splitlines()]
    return [" ".join(line.split("/tools/")[1].split()[:3]) for line in lines if "/tools/lact-" in line]


def every_step_runs():
    """tokenize, train, evaluate and generate run one after another, and end with a summary"""
    (FOLDER / "texts").mkdir()
    for page in ("README.md", "HACKING.md", "CONTRIBUTING.md"):
        shutil.copy(SOURCE / page, FOLDER / "texts")
    result = make()
    expect(result.returncode == 0, result.stdout, result.stderr)
    called = [command.split()[0] for command in commands(result)]
    expect({"lact-tokenize", "lact-train", "lact-generate", "lact-bench"} == set(called), called)
    expect("unigram" in result.stdout and "loss.svg" in result.stdout, result.stdout)
    expect((FOLDER / "demo/sample.txt").read_text(errors="replace").startswith("The"), "the sample does not begin with the prompt")
    expect("Right answers" in result.stdout and "none" in result.stdout, result.stdout)
    for picture in ("loss", "recall"):
        expect("<svg" in (FOLDER / f"demo/{picture}.svg").read_text(), f"no picture {picture}.svg")


def nothing_twice():
    """a second run calls no tool"""
    result = make()
    expect(result.returncode == 0 and commands(result) == [], result.stdout, result.stderr)


def a_target_again():
    """a result that was removed is made again, and nothing else"""
    before = json.loads((FOLDER / "demo/scores.json").read_text())
    (FOLDER / "demo/scores.json").unlink()
    result = make()
    expect(commands(result) == ["lact-generate text --model"], result.stdout, result.stderr)
    expect(json.loads((FOLDER / "demo/scores.json").read_text()) == before, "another score")


def training_goes_on():
    """training that did not come to its end is resumed, not started again"""
    (FOLDER / "demo/trained").unlink()
    result = make(steps=6)
    expect(result.returncode == 0, result.stdout, result.stderr)
    lines = [json.loads(line) for line in (FOLDER / "demo/run/metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "grad_norm" in line]
    expect(steps == [1, 2, 3, 4, 5, 6], steps)


def half_a_target():
    """a step that fails leaves no target behind"""
    for name in ("scores.json", "counts.json"):
        (FOLDER / "demo" / name).unlink()
    result = make(f"TOOLS={FOLDER}/nowhere", "evaluate")
    expect(result.returncode != 0, result.stdout)
    expect(not (FOLDER / "demo/counts.json").exists(), "counts.json is there, though the tool was not")


CUBE = [f"v {x} {y} {z}" for z in (0, 1) for y in (0, 1) for x in (0, 1)] + [
    "f 1 2 4 3", "f 5 6 8 7", "f 1 2 6 5", "f 3 4 8 7", "f 1 3 7 5", "f 2 4 8 6"]
TINY = ("--dim 32 --layers 1 --fast-head-dim 32 --attention-head-dim 16 --views 6 --context-views 3 --target-views 2 "
        "--batch-size 1 --threads 1 --log-every 1 --eval-every 2 --dtype float32")


def models_to_a_film():
    """the example of views draws models, packs, trains, evaluates and renders, and does nothing twice"""
    (FOLDER / "models").mkdir()
    (FOLDER / "models/cube.obj").write_text("\n".join(CUBE) + "\n")
    (FOLDER / "models/open.obj").write_text("\n".join(CUBE[:-1]) + "\n")
    command = ["make", "-f", SOURCE / "examples/views/Makefile", f"DIR={FOLDER / 'views'}", f"MODELS={FOLDER / 'models'}",
               f"TOOLS={BUILD / 'tools'}", f"PYTHON={sys.executable}", "SIZE=16", "VIEWS=16", "HELD_OUT=open*",
               "COUNTS=1,2", "STEPS=2", f"TRAIN_OPTIONS={TINY}", "ONE=cube.obj", "ONE_VIEWS=8", "HELD=4", "ONE_STEPS=2",
               f"FIT_OPTIONS={TINY}"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    expect(result.returncode == 0, result.stdout, result.stderr)
    called = {line.split()[0] for line in commands(result)}
    expect(called == {"lact-tokenize", "lact-train", "lact-bench", "lact-render"}, called)
    rows = json.loads((FOLDER / "views/quality.json").read_text())
    expect([row["context_views"] for row in rows] == [1, 2], rows)
    fit = json.loads((FOLDER / "views/one/quality.json").read_text())
    expect(fit[0]["target_views"] == 2, fit)
    for name in ("compare.png", "turntable.mp4", "psnr.svg", "scene.state", "one/compare.png", "one/turntable.mp4"):
        expect((FOLDER / "views" / name).stat().st_size > 500, name)
    again = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    expect(again.returncode == 0 and commands(again) == [], again.stdout, again.stderr)


SMALL_FILM = ("--dim 32 --ffn-dim 32 --num-layers 1 --num-heads 2 --fw-head-dim 16 --batch-size 1 --threads 1 --log-every 1 "
              "--eval-batches 1 --dtype float32")


def clips_to_a_film():
    """the example of video makes clips, trains two models, compares them, makes a film, and does nothing twice"""
    command = ["make", "-f", SOURCE / "examples/video/Makefile", f"DIR={FOLDER / 'video'}", "SET=pan",
               f"TOOLS={BUILD / 'tools'}", f"PYTHON={sys.executable}", "FRAMES=6", "CLIPS=4", "HELD=2", "STEPS=2", "GIVEN=1",
               "SAMPLING=--steps 2", "LENGTH=4", f"TRAIN_OPTIONS={SMALL_FILM}"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    expect(result.returncode == 0, result.stdout, result.stderr)
    called = {line.split()[0] for line in commands(result)}
    expect(called == {"lact-tokenize", "lact-train", "lact-bench", "lact-generate"}, called)
    rows = json.loads((FOLDER / "video/pan/quality.json").read_text())
    expect({row["model"] for row in rows} == {"fast", "window", "last frame repeated"}, rows)
    for name in ("compare.png", "film.mp4", "film.state", "psnr.svg", "velocity.svg", "loss.svg"):
        expect((FOLDER / "video/pan" / name).stat().st_size > 500, name)
    again = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    expect(again.returncode == 0 and commands(again) == [], again.stdout, again.stderr)


if __name__ == "__main__":
    try:
        main([every_step_runs, nothing_twice, a_target_again, training_goes_on, half_a_target, models_to_a_film,
              clips_to_a_film])
    finally:
        shutil.rmtree(FOLDER)
