#!/usr/bin/env python3
"""The tutorials of docs/tutorials do what they say: their own commands run, on small inputs, in a fresh folder each."""

import array
import json
import math
import os
import pathlib
import random
import re
import shlex
import shutil
import socket
import struct
import subprocess
import tempfile

import tutorials
from sentences import BUILD, SOURCE, expect, main

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="lact-tutorials-"))
GOLDEN = SOURCE / "tests/golden"
# One thread, and none that spins: on these sizes more only wait for each other.
SMALL = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PATH": f"{BUILD / 'tools'}:{os.environ['PATH']}"}


def tool(*words):
    result = subprocess.run([str(word) for word in words], env=SMALL, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, check=False)
    expect(result.returncode == 0, words, result.stderr)


def follow(name, **variables):
    """Runs a tutorial in its folder, and looks for every file that it writes or names."""
    folder = FOLDER / name
    printed = tutorials.run(name, folder, {**SMALL, **variables})
    written = tutorials.written_files(name)
    expect(len(written) > 1, f"{name}.md: only {written} seen: the search is wrong")
    missing = [file for file in {*written, *tutorials.named_files(name)} if not (folder / file).exists()]
    expect(not missing, f"{name}.md: not there at the end:", *missing)
    return printed


# --- inputs --------------------------------------------------------------------------------------


def make_books(folder, count=12):
    """Texts of one small vocabulary, each a document."""
    folder.mkdir(parents=True)
    words = ("the a small river runs under old stone bridge and children throw bread to ducks while rain falls on roofs of "
             "town where nobody speaks").split()
    for book in range(count):
        draw = random.Random(book)
        (folder / f"book-{book:02}.txt").write_text(" ".join(draw.choice(words) for _ in range(900)) + ".\n")


def make_films(folder, count=3, frames=48):
    """Waves of brightness that move, each at its own speed, as YUV4MPEG."""
    folder.mkdir(parents=True)
    width, height = 48, 32
    grey = bytes([128]) * (width * height // 2)
    for film in range(count):
        with open(folder / f"film-{film}.y4m", "wb") as file:
            file.write(b"YUV4MPEG2 W%d H%d F8:1 Ip A1:1 C420jpeg\n" % (width, height))
            for t in range(frames):
                row = bytes(int(128 + 80 * math.sin((x + (film + 1) * t) / 5)) for x in range(width))
                file.write(b"FRAME\n" + row * height + grey)
        (folder / f"film-{film}.txt").write_text(f"a wave of speed {film + 1}\n")


CUBE = [f"v {x} {y} {z}" for z in (0, 1) for y in (0, 1) for x in (0, 1)] + [
    "f 1 2 4 3", "f 5 6 8 7", "f 1 2 6 5", "f 3 4 8 7", "f 1 3 7 5", "f 2 4 8 6"]


def quaternion(m):
    """w x y z of a rotation: the one of the four formulas whose first number is largest."""
    trace = m[0][0] + m[1][1] + m[2][2]
    squares = [1 + trace] + [1 + 2 * m[i][i] - trace for i in range(3)]
    k = squares.index(max(squares))
    s = 2 * math.sqrt(squares[k])
    if k == 0:
        return [s / 4, (m[2][1] - m[1][2]) / s, (m[0][2] - m[2][0]) / s, (m[1][0] - m[0][1]) / s]
    i = k - 1
    j, l = (i + 1) % 3, (i + 2) % 3
    found = [(m[l][j] - m[j][l]) / s, 0, 0, 0]
    found[1 + i], found[1 + j], found[1 + l] = s / 4, (m[j][i] + m[i][j]) / s, (m[l][i] + m[i][l]) / s
    return found


def to_colmap(scene):
    """Replaces opencv_cameras.json by COLMAP's text files in sparse/0."""
    views = json.loads((scene / "opencv_cameras.json").read_text())
    (scene / "sparse/0").mkdir(parents=True)
    one = views[0]
    (scene / "sparse/0/cameras.txt").write_text(
        f"1 PINHOLE {one['w']} {one['h']} {one['fx']} {one['fy']} {one['cx']} {one['cy']}\n")
    with open(scene / "sparse/0/images.txt", "w", encoding="utf-8") as file:
        for number, view in enumerate(views, 1):
            move = [row[3] for row in view["w2c"][:3]]
            name = pathlib.PurePath(view["file_path"]).name
            file.write(" ".join(map(str, [number, *quaternion(view["w2c"]), *move, 1, name])) + "\n\n")
    (scene / "opencv_cameras.json").unlink()


def to_nerfstudio(scene):
    """Replaces opencv_cameras.json by transforms.json: from camera to world, y up, z backward."""
    views = json.loads((scene / "opencv_cameras.json").read_text())
    frames = []
    for view in views:
        turn = [row[:3] for row in view["w2c"][:3]]
        move = [row[3] for row in view["w2c"][:3]]
        rows = [[turn[0][i], -turn[1][i], -turn[2][i], -sum(turn[k][i] * move[k] for k in range(3))] for i in range(3)]
        frames.append({"file_path": view["file_path"], "transform_matrix": [*rows, [0, 0, 0, 1]]})
    one = views[0]
    (scene / "transforms.json").write_text(json.dumps(
        {"w": one["w"], "h": one["h"], "fl_x": one["fx"], "fl_y": one["fy"], "cx": one["cx"], "cy": one["cy"],
         "frames": frames}))
    (scene / "opencv_cameras.json").unlink()


def make_photos(folder):
    """Two cubes, one open, seen from 24 sides; one with nerfstudio's cameras and one with COLMAP's."""
    models = folder.parent / "models"
    models.mkdir(parents=True)
    (models / "fox.obj").write_text("\n".join(CUBE) + "\n")
    (models / "toy.obj").write_text("\n".join(CUBE[:-1]) + "\n")
    tool("lact-tokenize", "views", "objects", "--views", 24, "--size", 48, "--seed", 1, "-q", "-o", folder, models)
    (folder / "scenes.json").unlink()
    to_nerfstudio(folder / "fox")
    to_colmap(folder / "toy")


# --- published layouts ---------------------------------------------------------------------------


def tensors_of(file):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = file.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    return {name: (one["dtype"], one["shape"], data[end + one["data_offsets"][0]:end + one["data_offsets"][1]])
            for name, one in header.items()}


def write_tensors(file, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, sizes, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": sizes, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def make_language_model(folder):
    """A model of two blocks in two shards, as Hugging Face has them."""
    made = SOURCE / "tests/formats/text/run/checkpoints/step-3"
    folder.mkdir()
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(made / name, folder)
    tensors = tensors_of(made / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for shard, part in enumerate((names[:len(names) // 2], names[len(names) // 2:]), 1):
        file = f"model-0000{shard}-of-00002.safetensors"
        write_tensors(folder / file, {name: tensors[name] for name in part})
        weight_map.update({name: file for name in part})
    size = sum(len(data) for _, _, data in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}))


def make_wan(folder):
    """A Wan directory of two blocks. The tiny autoencoder is in vae/, as diffusers has it: its latents have 4 channels, and
    Wan2.1_VAE.pth has no place for their mean. codec and condition follow from the sizes of the published models."""
    (folder / "google/umt5-xxl").mkdir(parents=True)
    (folder / "vae").mkdir()
    tensors = tensors_of(GOLDEN / "video/wan_tiny_official.safetensors")
    draw = random.Random(1)
    width = 32  # of the tiny encoder
    tensors["text_embedding.0.weight"] = (
        "F32", [24, width], array.array("f", [draw.gauss(0, 0.02) for _ in range(24 * width)]).tobytes())
    write_tensors(folder / "diffusion_pytorch_model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(
        {"_class_name": "WanModel", "_diffusers_version": "0.30.0", "model_type": "t2v", "dim": 24, "ffn_dim": 64,
         "freq_dim": 32, "in_dim": 4, "out_dim": 4, "num_heads": 2, "num_layers": 2, "text_dim": width, "text_len": 7,
         "eps": 1e-6, "codec": {"type": "wan", "factor": 8}, "condition": "umt5"}))
    shutil.copy(GOLDEN / "video/vae_tiny_diffusers.safetensors", folder / "vae/diffusion_pytorch_model.safetensors")
    shutil.copy(GOLDEN / "video/umt5_tiny_official_bf16.pth", folder / "models_t5_umt5-xxl-enc-bf16.pth")
    tool("lact-tokenize", "text", "train", "--model-type", "char", "--vocab-size", 60, "--no-byte-fallback",
         "--no-hard-vocab-limit", "-q", "-o", folder / "google/umt5-xxl/spiece.model", SOURCE / "CONTRIBUTING.md")


# --- the tutorials -------------------------------------------------------------------------------


def every_tutorial_is_tested():
    """each file of docs/tutorials has its test, is short, and every block says what it is"""
    names = sorted(file.stem for file in (SOURCE / "docs/tutorials").glob("*.md"))
    expect(names == ["films", "photographs", "plugin", "published-checkpoint", "several-processes", "text", "update-rule"], names)
    for name in names:
        lines = (SOURCE / f"docs/tutorials/{name}.md").read_text().splitlines()
        expect(len(lines) <= 170, f"{name}.md: {len(lines)} lines")
        fences = [line for line in lines if line.startswith("```")]
        expect(len(fences) == 2 * len(tutorials.blocks(name)), f"{name}.md: a block that does not say what it is")
        kinds = {kind for kind, _ in tutorials.blocks(name)}
        known = {"sh", "sh download", "sh colmap", "sh cluster", "sh source", "sh build", "text", "text sample", "diff"}
        expect(all(kind in known or kind.startswith("cpp ") for kind in kinds), f"{name}.md: {kinds - known}")
        expect("sh" in kinds, f"{name}.md: no commands")


def links_lead_somewhere():
    """every link of a tutorial names a file of the tree"""
    missing = []
    for file in (SOURCE / "docs/tutorials").glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)", file.read_text()):
            if "://" not in link and not (file.parent / link).exists():
                missing.append(f"{file.name}: {link}")
    expect(not missing, *missing)


def text_runs():
    """the tutorial on text goes from files to a tokenizer, a model, a score and a state"""
    make_books(FOLDER / "text/books")
    follow("text", VOCAB=300, STEPS=2)
    lines = (FOLDER / "text/answers.jsonl").read_text().splitlines()
    expect([json.loads(line)["index"] for line in lines] == [0, 1], lines)


def photographs_run():
    """the tutorial on photographs goes from two kinds of cameras to a state, a film and frames"""
    (FOLDER / "photographs").mkdir()
    make_photos(FOLDER / "photographs/photos")
    follow("photographs", SIZE=32, STEPS=2)
    expect(len(list((FOLDER / "photographs/frames").glob("*.png"))) == 30, "frames/ has not 30 pictures")


def films_run():
    """the tutorial on films goes from films to clips, a model, a continuation and its state"""
    make_films(FOLDER / "films/films")
    follow("films", SIZE=16, STEPS=2)


def published_checkpoint_runs():
    """the tutorial on published checkpoints runs on small files of their layouts, and fine-tunes each"""
    folder = FOLDER / "published-checkpoint"
    make_books(folder / "books")
    make_films(folder / "films")
    make_photos(folder / "photos")
    make_language_model(folder / "language-model")
    shutil.copy(GOLDEN / "views/model_tiny_checkpoint.pt", folder / "obj_res256.pt")
    make_wan(folder / "Wan2.1-T2V-1.3B")
    downloads = tutorials.commands("published-checkpoint", "sh download")
    for place in ("language-model/", "obj_res256.pt", "Wan2.1-T2V-1.3B/"):
        expect(place in downloads and (folder / place).exists(), f"nobody downloads {place}")
    follow("published-checkpoint", STEPS=2, SEQ=64, SIZE=32, FRAME=32, FRAMES=21, SAMPLING=2)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def several_processes_run():
    """the tutorial on several processes trains with two, alone to the same bytes, goes on with one and two, and measures sums"""
    make_books(FOLDER / "several-processes/books")
    follow("several-processes", VOCAB=300, STEPS=2, PORT=free_port())
    job = tutorials.commands("several-processes", "sh cluster")
    expect("examples/slurm/train.sh" in job and (SOURCE / "examples/slurm/train.sh").exists(), "no job of Slurm")


def slurm_job_runs():
    """examples/slurm/train.sh is one run of the tasks that srun starts, and a second job goes on"""
    folder = FOLDER / "slurm"
    shutil.copytree(SOURCE / "tests/formats/text/data", folder / "data")
    (folder / "bin").mkdir()
    # Two tasks of one machine, told what Slurm tells them.
    (folder / "bin/srun").write_text("""#!/bin/sh
while [ "$1" != lact-train ]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_ID=0
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!
""")
    (folder / "bin/srun").chmod(0o755)
    small = ("--hidden-size 32 --num-hidden-layers 1 --num-attn-heads 2 --num-lact-heads 1 --intermediate-size 64 "
             "--lact-chunk-size 8 --window-size 8 --seq-len 16 --batch-size 1 --eval-every 0 --dtype float32").split()
    for steps in (2, 4):
        variables = {**SMALL, "PATH": f"{folder / 'bin'}:{SMALL['PATH']}", "STEPS": str(steps),
                     "SLURM_JOB_ID": str(free_port() - 10000)}  # a job's port is 10000 and its number
        result = subprocess.run(["sh", SOURCE / "examples/slurm/train.sh", *small], cwd=folder, env=variables,
                                capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        expect(result.returncode == 0, result.stderr)
        expect((folder / f"run/checkpoints/step-{steps}/model.safetensors").exists(), result.stderr)
    metrics = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    expect([line["processes"] for line in metrics if "processes" in line][-1:] == [2], metrics)


def code_of(text):
    """Lines of code without comments, blanks and what was left out."""
    lines = [re.sub(r"//.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line not in ("", "...")]


def update_rule_is_hackings():
    """the code of the tutorial on update rules is that of HACKING"""
    page = (SOURCE / "HACKING.md").read_text()
    found = re.search(r"^    class Sign final.*?\{\"sign\", false, sign\(\)\},", page, flags=re.M | re.S)
    expect(found, "HACKING.md has no signSGD: the expression is wrong")
    told = "\n".join(text for kind, text in tutorials.blocks("update-rule") if kind.startswith("cpp ") or kind == "diff")
    ours = [line.lstrip("+ ") for line in code_of(told)]
    missing = [line for line in code_of(found.group(0)) if line not in ours]
    expect(len(code_of(found.group(0))) > 6 and not missing, "in HACKING.md, not in update-rule.md:", *missing)


def compile_flags(like):
    """The compiler's words for a file of the tree, and the folder they hold in."""
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if entry["file"].endswith(like) and "-fuzz" not in entry["output"]:
            words = shlex.split(entry["command"])
            outputs = {"-o", "-MF", "-MQ", "-c"}
            kept = [word for at, word in enumerate(words) if word not in outputs | {"-MD", "ccache"}
                    and (at == 0 or words[at - 1] not in outputs)]
            return kept, entry["directory"]
    raise AssertionError(f"compile_commands.json has no {like}")


def update_rule_applies():
    """the files and changes of the tutorial on update rules fit the tree, name what they should, and compile"""
    tree = FOLDER / "update-rule-tree"
    for part in ("libs/lact/src/ops", "tests/ops", "tests/text", "tests/support"):
        shutil.copytree(SOURCE / part, tree / part)
    for kind, text in tutorials.blocks("update-rule"):
        if kind.startswith("cpp "):
            (tree / kind.split()[1]).write_text(text)
        elif kind == "diff":
            result = subprocess.run(["git", "apply", "-"], input=text, cwd=tree, capture_output=True, text=True,
                                    env={**os.environ, "GIT_CEILING_DIRECTORIES": str(FOLDER.parent)}, check=False)
            expect(result.returncode == 0, "the change does not apply:", result.stderr)
        elif kind == "sh source":
            subprocess.run(["sh", "-eu"], input=text, cwd=tree, text=True, check=True)
    for file, word in (("libs/lact/src/ops/meson.build", "'rules/sign.cpp'"), ("tests/ops/meson.build", "'sign_test.cpp'"),
                       ("tests/text/sweep_test.cpp", '"sign"'), ("libs/lact/src/ops/rule.cpp", '{"sign", false, sign()}')):
        expect((tree / file).read_text().count(word) == 1, f"{file} has not one {word}")
    for file, like in (("libs/lact/src/ops/rules/sign.cpp", "src/ops/rules/newton_schulz.cpp"),
                       ("libs/lact/src/ops/rule.cpp", "src/ops/rule.cpp"),
                       ("tests/ops/sign_test.cpp", "tests/ops/scan_test.cpp")):
        words, place = compile_flags(like)
        result = subprocess.run([*words, "-Werror", "-fsyntax-only", str(tree / file)], cwd=place, capture_output=True,
                                text=True, check=False)
        expect(result.returncode == 0, f"{file} does not compile:", result.stderr[:2000])


def update_rule_runs():
    """the commands that time a rule and train with it run, with a rule that is there already"""
    folder = FOLDER / "update-rule"
    make_books(folder / "books")
    tool("lact-tokenize", "text", "train", "--vocab-size", 300, "-q", "-o", folder / "t.model", folder / "books")
    tool("lact-tokenize", "text", "encode", "--model", folder / "t.model", "--validation-files", "book-11*", "-q", "-o",
         folder / "data", folder / "books")
    follow("update-rule", RULE="momentum", STEPS=1)


if __name__ == "__main__":
    try:
        main([every_tutorial_is_tested, links_lead_somewhere, text_runs, photographs_run, films_run,
              published_checkpoint_runs, several_processes_run, slurm_job_runs, update_rule_is_hackings, update_rule_applies,
              update_rule_runs])
    finally:
        shutil.rmtree(FOLDER)
