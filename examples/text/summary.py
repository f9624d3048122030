#!/usr/bin/env python3
"""What the steps of the Makefile beside this left in a folder, in a few lines.

usage: summary.py DIR
"""

import json
import pathlib
import sys


def main():
    folder = pathlib.Path(sys.argv[1])
    (data,) = json.loads((folder / "counts.json").read_text()).values()
    scores = json.loads((folder / "scores.json").read_text())
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss_metrics/global_avg_loss" in line]
    seen = steps[-1]["n_tokens_seen"]
    rows = [line["validation_metrics/loss"] for line in lines if "validation_metrics/loss" in line][-1]

    recall = json.loads((folder / "recall/recall.json").read_text())
    facts = sorted({row["facts"] for row in recall if "facts" in row})
    print("\nRight answers about facts beyond the window, in % (chance: 12.5); 'none' is the same model, learning nothing")
    print("  facts     " + "".join(f"{number:8}" for number in facts))
    for member in dict.fromkeys(row["member"] for row in recall):
        found = {row["facts"]: row["accuracy"] for row in recall if row["member"] == member and "facts" in row}
        print(f"  {member:10}" + "".join(f"{100 * found[number]:8.1f}" for number in facts))
    print(f"Their curves: {folder / 'recall.svg'}")

    print(f"\nLoss on works that training never saw, {data['tokens']} tokens, in nats per token")
    bars = [("unigrams of these tokens", data["unigram_entropy_nats"]),
            ("unigrams of the training data", data["unigram_of_train_nats"]),
            ("bigrams of the training data", data["bigram_of_train_nats"]),
            ("this model, in rows as trained", rows),
            ("this model, whole works at a go", scores["loss"])]
    for name, loss in bars:
        print(f"  {name:32} {loss:6.3f}")
    print(f"After {seen / 1e6:.2f} M tokens the model is {data['unigram_entropy_nats'] - rows:.2f} nats below the "
          f"unigram entropy ({data['bytes_per_token']:.2f} bytes a token).")
    print(f"\nLoss in training: {steps[0]['loss_metrics/global_avg_loss']:.2f} at step {steps[0]['step']}, "
          f"{steps[-1]['loss_metrics/global_avg_loss']:.2f} at step {steps[-1]['step']}")
    print(f"Its curve: {folder / 'loss.svg'}")
    print(f"\nWhat the model writes ({folder / 'sample.txt'}):\n")
    text = (folder / "sample.txt").read_text(errors="replace")
    print("\n".join("  | " + line for line in text.rstrip("\n").split("\n")))


if __name__ == "__main__":
    main()
