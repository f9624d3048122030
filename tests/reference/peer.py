#!/usr/bin/env python3
"""Time the reference program, eager and under torch.compile, against lact-bench in the same run, by turns.

  peer.py                       the operator: 4 heads x 384, 8192 tokens, chunks of 2048, forward and backward
  peer.py --rule muon --chunk 512 --pass forward
  peer.py --model tiny,60m      the gradients of a training step of a whole model, without the optimizer

Each round runs all three after each other, and measures the rate of matrix products around each, in its own
process: machines are noisy, so only the ratios of a round are compared.  Prints Markdown.  The compiler of
torch.compile needs g++ and a minute for the first run of each shape.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import torch

import lact_llm_ref as ref

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = {"gd": (False, False), "momentum": (False, True), "muon": (True, False), "muon_momentum": (True, True)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The presets of lact-train; every key is passed to lact-bench too, so both run the same model.
COMMON = {"w0_w2_low_rank": 32, "initializer_range": 0.02, "rope_theta": 1e6}
MODELS = {
    "tiny": {**COMMON, "hidden_size": 192, "num_hidden_layers": 4, "num_attn_heads": 3, "num_lact_heads": 1,
             "lact_chunk_size": 256, "window_size": 256, "w0_w2_low_rank": 16, "intermediate_size": 512,
             "vocab_size": 2048, "tie_word_embeddings": True},
    "60m": {**COMMON, "hidden_size": 512, "num_hidden_layers": 10, "num_attn_heads": 8, "num_lact_heads": 2,
            "lact_chunk_size": 1024, "window_size": 1024},
}


class Clock:
    """Seconds of a piece of work, and the rate of matrix products of this process."""

    def __init__(self, device, dtype, size):
        self.device = device
        self.a, self.b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def seconds(self, work):
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def product_rate(self, seconds=0.2):
        """The best of repeated products, in FLOP/s."""
        best, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            best = max(best, 2 * len(self.a) ** 3 / self.seconds(lambda: self.a @ self.b))
        return best

    def sample(self, work):
        """(seconds, product rate around them)"""
        before = self.product_rate()
        seconds = self.seconds(work)
        return seconds, (before + self.product_rate()) / 2


def say(words):
    """One line of progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def operator(options, rule):
    """A function that runs the reference operator once, and lact-bench's words for the same."""
    muon, momentum = RULES[rule]
    heads, width, hidden, length = options.heads, options.width, options.hidden or options.width, options.length
    dtype = DTYPES[options.dtype]
    like = {"device": options.device}
    grad = options.passes == "both"
    weights = [(torch.randn(heads, *shape, **like) / shape[1] ** 0.5).requires_grad_(grad)
               for shape in ((hidden, width), (width, hidden), (hidden, width))]
    q, k = (torch.nn.functional.normalize(torch.randn(heads, length, width, **like), dim=-1).to(dtype)
            .requires_grad_(grad) for _ in range(2))
    v = torch.randn(heads, length, width, **like).to(dtype).requires_grad_(grad)
    rates = [(torch.rand(heads, length, 1, **like) * 0.01).requires_grad_(grad) for _ in range(3)]
    beta = torch.rand(heads, length, 1, **like).requires_grad_(grad) if momentum else None
    out_gradient = torch.randn(heads, length, width, **like).to(dtype)
    narrow = {} if dtype == torch.float32 else {"mm": dtype, "ns": dtype}
    rounding = ref.Options(muon=muon, **narrow)
    inputs = [x for x in (*weights, q, k, v, *rates, beta) if x is not None]

    def scan(w, q, k, v, rates, beta):
        return ref.block_causal(w, q, k, v, rates, options.chunk, beta, rounding)[0]

    def work(function):
        with torch.set_grad_enabled(grad):
            out = function(tuple(weights), q, k, v, tuple(rates), beta)
        if grad:
            out.to(dtype).backward(out_gradient)
        for x in inputs:
            x.grad = None

    state = 3 * width * hidden / heads / width ** 2
    words = ["op", "--rule", rule, "--heads", heads, "--width", width, "--state", state, "--length", length,
             "--chunk", options.chunk, "--pass", options.passes]
    return scan, work, words


def model(options, name):
    """The same for the gradients of a whole model."""
    cfg = ref.Config.from_dict(MODELS[name])
    params = {key: x.to(options.device).requires_grad_() for key, x in
              ref.init_params(cfg, torch.Generator().manual_seed(1)).items()}
    ids = torch.randint(cfg.vocab_size, (options.rows, options.train_length), device=options.device)
    narrow = {} if options.dtype == "float32" else {"mm": DTYPES[options.dtype], "ns": DTYPES[options.dtype]}

    def loss(params, ids):
        return ref.lm_loss(ref.model_forward(cfg, params, ids, **narrow), ids)

    def work(function):
        function(params, ids).backward()
        for x in params.values():
            x.grad = None

    words = ["text", "--preset", name, "-p", 0, "-n", 0, "--n-train", options.train_length, "--train-rows", options.rows]
    for key, value in MODELS[name].items():
        words += ["--" + key.replace("_", "-"), json.dumps(value)]
    return loss, work, words, sum(x.numel() for x in params.values())


def ours(options, words):
    """One row of lact-bench."""
    command = [options.lact_bench, *map(str, words), "-r", "3", "-o", "jsonl", "--threads", str(options.threads),
               "--dtype", options.dtype, "--device", str(options.device)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"peer.py: {' '.join(command)}: exit {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def ours_seconds(row):
    """Of the last repetition, as the others have run before: memory is there.  Without the optimizer."""
    return row["samples_seconds"][-1] - row.get("samples_optimizer_seconds", [0])[-1]


def compare(options, name, function, work, words, parameters=None):
    """Rounds of eager, compiled, ours; one Markdown row."""
    clock = Clock(options.device, DTYPES[options.dtype], options.product_size)
    variants = {"eager": function}
    if not options.no_compile:
        variants["compiled"] = torch.compile(function, dynamic=False)
    for variant in variants.values():
        work(variant)  # compiles, wakes threads
    samples, row = [], None
    for number in range(options.rounds):
        say(f"{name}: round {number + 1} of {options.rounds}")
        one = {key: clock.sample(lambda v=variant: work(v)) for key, variant in variants.items()}
        row = ours(options, words)
        one["ours"] = ours_seconds(row), row["ceiling_flops_per_second"]
        samples.append(one)
    say("")
    if parameters is not None and row["model_n_params"] != parameters:
        sys.exit(f"peer.py: {name}: {parameters} parameters here, {row['model_n_params']} in lact-bench")

    def spread(values):
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    def used(key):
        if key not in samples[0]:
            return "-"
        return f"{100 * statistics.median(row['flops'] / s / rate for s, rate in (x[key] for x in samples)):.1f} %"

    def ratio(key):
        return spread([x[key][0] / x["ours"][0] for x in samples]) if key in samples[0] else "-"

    rate = statistics.median(x["ours"][1] for x in samples) / 1e9
    speed = statistics.median((row.get("length") or row["n_train"] * row["n_rows"]) / x["ours"][0] for x in samples)
    return (f"| {name} | {speed:.0f} | {used('ours')} | {used('compiled')} | {used('eager')} | {rate:.0f} | "
            f"{ratio('compiled')} | {ratio('eager')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lact-bench", default=str(ROOT / "build/tools/lact-bench"), help="the program to compare")
    parser.add_argument("--rule", default="momentum,muon", help="rules, separated by commas: " + ", ".join(RULES))
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=384, help="of a head's keys and values")
    parser.add_argument("--hidden", type=int, help="hidden width of the fast weights (default: the width)")
    parser.add_argument("--length", type=int, default=8192, help="tokens")
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--pass", dest="passes", choices=("forward", "both"), default="both")
    parser.add_argument("--model", help="presets instead of the operator, separated by commas: " + ", ".join(MODELS))
    parser.add_argument("--train-length", type=int, default=1024, help="tokens of a row of --model")
    parser.add_argument("--rows", type=int, default=2, help="rows of a step of --model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the products")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--product-size", type=int, default=2048, help="rows of the products that are the ceiling here")
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    print("| case | ours, tokens/s | ours, of max | compiled, of max | eager, of max | max, GFLOP/s | speed, ours / compiled | "
          "ours / eager |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    if options.model:
        for name in options.model.split(","):
            print(compare(options, f"{name}, {options.rows} x {options.train_length}", *model(options, name)), flush=True)
        return
    for rule in options.rule.split(","):
        name = f"{rule}, {options.heads} x {options.width}, {options.length} in {options.chunk}, {options.passes}"
        print(compare(options, name, *operator(options, rule)), flush=True)


if __name__ == "__main__":
    main()
