#!/usr/bin/env python3
"""lm-eval (EleutherAI's lm-evaluation-harness) on models of lact: its command, with a model named "lact".

    python3 lact_lm.py --model lact --model_args pretrained=RUN --tasks lambada_openai

Model arguments: pretrained (a model or run directory), program (lact-generate), options (more of its options).
Log-probabilities are lact-generate's own, one process per call; context and continuation are split by its tokenizer."""

import json
import shlex
import subprocess

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model


@register_model("lact")
class Lact(LM):
    def __init__(self, pretrained, program="lact-generate", options="", **_):
        super().__init__()
        self.command = [program, "text", "--model", pretrained, "--quiet", *shlex.split(options)]

    def run(self, arguments, lines):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        done = subprocess.run([*self.command, *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def loglikelihood(self, requests):
        pairs = [dict(zip(("context", "continuation"), request.args)) for request in requests]
        return [(answer["logprob"], answer["is_greedy"]) for answer in self.run(["--score", "-", "--pairs"], pairs)]

    def loglikelihood_rolling(self, requests):
        pairs = [{"context": "", "continuation": request.args[0]} for request in requests]
        return [answer["logprob"] for answer in self.run(["--score", "-", "--pairs"], pairs)]

    def generate_until(self, requests):
        prompts = []
        for context, how in (request.args for request in requests):
            sampled = how.get("do_sample", False)
            until = how.get("until", [])
            prompts.append({"prompt": context, "stop": [until] if isinstance(until, str) else until,
                            "max_tokens": how.get("max_gen_toks", 256),
                            "temperature": how.get("temperature", 1.0) if sampled else 0.0})
        return [answer["text"] for answer in self.run(["--batch", "-"], prompts)]


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
