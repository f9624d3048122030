#!/usr/bin/env python3
"""What the steps of the Makefile beside this left in a folder, in a few lines.

usage: summary.py DIR
"""

import json
import pathlib
import sys


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = json.loads((folder / "quality.json").read_text())
    models = list(dict.fromkeys(row["model"] for row in rows))
    values = {(row["model"], row["chunk"]): row for row in rows}
    chunks = [row["chunk"] for row in rows if row["model"] == models[0]]
    trained = [model for model in models if (model, 0) in values]
    given = rows[0]["context_chunks"]
    print(f"\nClips that training never saw, continued after {given} chunks: PSNR in dB, and the squared error of the")
    print("velocity at t = 0.9 after real chunks (fast: learns from the film; window: the same model, learning nothing)")
    print("  chunk  " + "".join(f"{model:>21}" for model in models) + "".join(f"{'velocity ' + m:>18}" for m in trained))
    for chunk in chunks:
        line = f"  {chunk!s:7}"
        for model in models:
            psnr = values.get((model, chunk), {}).get("psnr")
            line += f"{psnr:21.2f}" if psnr is not None else f"{'given' if chunk != 'mean' else '':>21}"
        for model in trained:
            line += f"{values[model, chunk]['velocity_error']:18.4f}"
        print(line)
    print(f"\nCurves: {folder / 'loss.svg'}, {folder / 'psnr.svg'}, {folder / 'velocity.svg'}")
    print(f"Real frames above, ours below: {folder / 'compare.png'}")
    print(f"A film from nothing: {folder / 'film.mp4'}; it goes on from {folder / 'film.state'}")


if __name__ == "__main__":
    main()
