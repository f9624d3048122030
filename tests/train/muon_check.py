"""Takes the steps of a safetensors file with torch.optim.Muon.

usage: muon_check.py IN OUT RATE MOMENTUM DECAY [--float32]
IN holds NAME (a matrix) and NAME.T (its gradient at step T, from 0); OUT gets NAME after the last step.
--float32: Newton-Schulz in float32, where torch's own is in bfloat16."""

import sys

import torch
from safetensors.torch import load_file, save_file


def main():
    source, target, rate, momentum, decay = sys.argv[1:6]
    if "--float32" in sys.argv:
        torch.Tensor.bfloat16 = torch.Tensor.clone
    tensors = load_file(source)
    matrices = {name: tensor for name, tensor in tensors.items() if "." not in name}
    optimizer = torch.optim.Muon(matrices.values(), lr=float(rate), momentum=float(momentum), weight_decay=float(decay))
    step = 0
    while all(f"{name}.{step}" in tensors for name in matrices):
        for name, tensor in matrices.items():
            tensor.grad = tensors[f"{name}.{step}"]
        optimizer.step()
        step += 1
    save_file(matrices, target)


if __name__ == "__main__":
    main()
