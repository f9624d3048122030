"""Compares a model folder's tokenizer.json, as transformers reads it, with its tokenizer.model.

usage: transformers_check.py MODEL TEXT    prints "N texts agree", exits 1 at the first that does not

Of two ways to cut a text that a unigram model finds equally likely, either may come."""

import json
import pathlib
import sys

import sentencepiece
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig


class LactConfig(PretrainedConfig):
    """Stands for the published one, which registers itself under this name."""

    model_type = "lact_swiglu"


def agree(model, found, want):
    """The same ids, or as likely ones."""
    score = lambda ids: sum(model.get_score(i) for i in ids)  # noqa: E731
    return found == want or (len(found) == len(want) and abs(score(found) - score(want)) < 1e-3 * len(want))


def main():
    folder, text = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")
    AutoConfig.register("lact_swiglu", LactConfig)
    config = AutoConfig.from_pretrained(folder)
    assert config.hidden_size == json.loads((folder / "config.json").read_text())["hidden_size"]
    assert GenerationConfig.from_pretrained(folder).eos_token_id == config.eos_token_id
    theirs = AutoTokenizer.from_pretrained(folder)
    published = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = [line for line in text.split("\n") if line] + [text]
    for one in texts:
        want = [published.bos_id()] * (published.bos_id() >= 0) + published.encode(one)
        found = theirs(one)["input_ids"]
        if not agree(published, found, want):
            sys.exit(f"{one[:200]!r}: expected {want[:50]}, found {found[:50]}")
        if theirs.decode(want, skip_special_tokens=True) != published.decode(want):
            sys.exit(f"{one[:200]!r}: decodes to {theirs.decode(want, skip_special_tokens=True)[:200]!r}")
    print(len(texts), "texts agree")


main()
