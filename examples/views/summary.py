#!/usr/bin/env python3
"""What the steps of the Makefile beside this left in a folder, in a few lines.

usage: summary.py DIR
"""

import json
import pathlib
import sys


def main():
    folder = pathlib.Path(sys.argv[1])
    fit = folder / "one/quality.json"
    if fit.exists():
        row = json.loads(fit.read_text())[0]
        print(f"\nA fit of one object, {row['target_views']} views of it that training never saw: {row['psnr_pooled']:.2f} dB, "
              f"SSIM {row['ssim']:.3f} (nearest view read: {row['nearest_view/psnr_pooled']:.2f} dB; nothing read: "
              f"{row['off/psnr_pooled']:.2f} dB, because most of the object is in the model)")
        print(f"  it turns in {folder / 'one/turntable.mp4'}; beside the truth in {folder / 'one/compare.png'}")
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if "validation_metrics/psnr" in line]
    print("\nObjects that training never saw: PSNR in dB by training step")
    for line in evaluations:
        print(f"  step {line['step']:6} {line['validation_metrics/psnr']:6.2f}")
    print("\nPSNR in dB of views that were not read, by how many were")
    print("  views   this model   nothing read   another object read   nearest view   mean colour")
    for row in json.loads((folder / "quality.json").read_text()):
        other = row.get("other_scene/psnr_pooled")
        print(f"  {row['context_views']:5} {row['psnr_pooled']:12.2f} {row['off/psnr_pooled']:14.2f} "
              f"{'' if other is None else f'{other:.2f}':>21} {row['nearest_view/psnr_pooled']:14.2f} "
              f"{row['mean_colour/psnr_pooled']:13.2f}")
    print(f"\nCurves: {folder / 'loss.svg'}, {folder / 'psnr.svg'}")
    print(f"Inputs, truth, ours, difference: {folder / 'compare.png'}")
    print(f"A turn around an object that was read as 8 views: {folder / 'turntable.mp4'}")


if __name__ == "__main__":
    main()
