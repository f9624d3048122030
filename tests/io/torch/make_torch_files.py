#!/usr/bin/env python3
"""Writes the files that pickle_test.cpp reads: python3 tests/io/torch/make_torch_files.py FOLDER

Needs PyTorch (2.11 wrote those in the tree) and NumPy. Their content is what the test works out by itself."""

import collections
import io
import os
import pickle
import sys
import warnings
import zipfile

import numpy as np
import torch

FOLDER = sys.argv[1]
NUMPY_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "?")
TORCH_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
               "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")


def path(name):
    return os.path.join(FOLDER, name)


def tensors():
    """Every dtype, and tensors that share a storage."""
    state = {"type." + name: torch.arange(6).view(2, 3).to(getattr(torch, name)) for name in TORCH_TYPES}
    grid = torch.arange(12, dtype=torch.float32).view(3, 4) / 4
    state.update({
        "grid": grid, "transposed": grid.t(), "column": grid[1:, 2], "again": grid, "all": grid.reshape(-1),
        "scalar": torch.tensor(-2.5), "empty": torch.empty(0, 3), "parameter": torch.nn.Parameter(grid[0].clone()),
        "expanded": torch.tensor([1.5]).expand(2, 3), "größe": torch.ones(1)})
    state["noted"] = torch.ones(2)
    state["noted"].note = {"who": "the test"}
    return state


def module_state():
    """A state dict as modules give it, OrderedDict with _metadata, under the names that wrappers make."""
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)).state_dict()
    for number, value in enumerate(state.values()):
        value.copy_(torch.arange(value.numel()).view_as(value) + 10 * number)
    return state


def wrapped(state):
    return collections.OrderedDict(("module.module._orig_mod." + name.replace("0.", "0._checkpoint_wrapped_module."), value)
                                   for name, value in state.items())


def arrays():
    grid = np.arange(24).reshape(2, 3, 4)
    nested = {"little": {np.dtype(name).name: grid.astype(name) for name in NUMPY_TYPES},
              "big": {np.dtype(name).name: grid.astype(np.dtype(name).newbyteorder(">")) for name in NUMPY_TYPES}}
    return {"nested": nested, "fortran": np.asfortranarray(grid.astype("f4")), "turned": grid.astype("f4").transpose(2, 0, 1),
            "part": grid.astype("f4")[:, 1:, ::2], "empty": np.zeros((0, 3), "f4"), "zero_dim": np.array(2.5),
            "scalar": np.float32(1.5), "bytes": bytes(range(256)), "large": 2**100, "negative": -2**40, "none": None}


def old(value, name, **options):
    torch.save(value, path(name), _use_new_zipfile_serialization=False, **options)


def rewritten(source, name, change=lambda name, content: content, how=zipfile.ZIP_STORED):
    """The records of an archive again, by Python's zipfile."""
    with zipfile.ZipFile(path(source)) as read, zipfile.ZipFile(path(name), "w", how) as write:
        for record in read.namelist():
            write.writestr(record, change(record, read.read(record)))


def big_end_first(name, content):
    if name.endswith("/byteorder"):
        return b"big"
    if "/data/" not in name:
        return content
    return np.frombuffer(content, "<f4").astype(">f4").tobytes()


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


def same(one, two):
    return one.dtype == two.dtype and one.shape == two.shape and (one.numel() == 0 or torch.equal(
        one.detach().contiguous().reshape(-1).view(torch.uint8), two.detach().contiguous().reshape(-1).view(torch.uint8)))


def main():
    warnings.simplefilter("ignore")
    state = tensors()
    for protocol in (2, 3, 4, 5):
        torch.save(state, path(f"zip{protocol}.pt"), pickle_protocol=protocol)
        old(state, f"old{protocol}.pt", pickle_protocol=protocol)
        with open(path(f"numpy{protocol}.ckpt"), "wb") as file:
            pickle.dump(arrays(), file, protocol=protocol)

    # As a training program saves: the model among much else.
    model = module_state()
    optimizer = torch.optim.AdamW([torch.nn.Parameter(value.clone()) for value in model.values()])
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    everything = {"model": wrapped(model), "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(),
                  "epoch": 3, "loss": 0.25, "seen": 2**40, "seeds": torch.get_rng_state()[:8], "done": False, "note": None,
                  "size": torch.Size([2, 3]), "device": torch.device("cuda", 1), "dtype": torch.bfloat16,
                  "best": np.float64(0.5), "numpy": np.random.RandomState(1).get_state()[1][:3], "steps": [1, 2.5, (True,)]}
    torch.save(everything, path("training.pt"))
    old(everything, "training_old.pth")
    torch.save({"state_dict": model, "hyper": {"width": 3}}, path("lightning.ckpt"))
    torch.save(model, path("module.pth"))
    torch.save(torch.ones(2), path("tensor.pt"))

    # Tensors of another device: only what they are tagged with differs.
    torch.serialization.register_package(0, lambda storage: "cuda:0", lambda storage, location: None)
    torch.save(model, path("cuda.pth"))
    old(model, "cuda_old.pth")
    torch.serialization._package_registry.pop(0)

    torch.serialization.set_crc32_options(False)
    torch.save(model, path("no_crc.pth"))
    torch.serialization.set_crc32_options(True)
    rewritten("module.pth", "big.pth", big_end_first)
    rewritten("module.pth", "compressed.pth", how=zipfile.ZIP_DEFLATED)
    for name in ("big.pth", "no_crc.pth", "cuda.pth"):
        read = torch.load(path(name), map_location="cpu")
        assert all(same(read[key], value) for key, value in model.items()), name

    # What is refused.
    torch.save({"model": Command()}, path("command.pt"))
    old({"model": Command()}, "command_old.pt")
    torch.save(torch.nn.Linear(1, 1), path("whole_module.pt"))
    old(torch.nn.Linear(1, 1), "whole_module_old.pt")
    torch.jit.script(torch.nn.Linear(1, 1)).save(path("script.pt"))
    with open(path("objects.ckpt"), "wb") as file:
        pickle.dump({"a": np.array([{}, []], dtype=object)}, file, protocol=4)


main()
