"""The Python package's side of the interoperability tests.

interop.py rewrite IN OUT     read IN and write it again, raw bytes, every dtype
interop.py numpy OUT          write a few arrays with safetensors.numpy
interop.py describe IN        one line a tensor: name, dtype, shape, bytes in hexadecimal
interop.py judge DIR          one line a file: name, then "yes" if the package reads it, or "no"
"""

import json
import os
import sys

import numpy
import safetensors
import safetensors.numpy

# As the format names them, and as the package's serializer wants them.
LONG = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16",
    "I32": "int32", "U32": "uint32", "I64": "int64", "U64": "uint64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F4": "float4_e2m1fn_x2",
}  # fmt: skip


def rewrite(source, target):
    raw = open(source, "rb").read()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    specs, alive = {}, []
    for name, info in safetensors.deserialize(raw):
        shape, data = list(info["shape"]), bytes(info["data"])
        if info["dtype"] == "F4":
            shape[-1] //= 2
        dtype = LONG[info["dtype"]]
        if hasattr(safetensors, "TensorSpec"):
            array = numpy.frombuffer(data or b"\0", dtype=numpy.uint8)
            alive.append(array)
            specs[name] = safetensors.TensorSpec(
                dtype=dtype, shape=shape, data_ptr=array.ctypes.data, data_len=len(data))
        else:
            specs[name] = {"dtype": dtype, "shape": shape, "data": data}
    with open(target, "wb") as out:
        out.write(safetensors.serialize(specs, metadata=header.get("__metadata__")))


def write_numpy(target):
    arrays = {
        "weights": numpy.arange(12, dtype=numpy.float32).reshape(3, 4) / 7,
        "scalar": numpy.full((), -2.5, dtype=numpy.float64),
        "ids": numpy.array([0, 1, 65535], dtype=numpy.uint16),
        "none": numpy.zeros((3, 0, 2), dtype=numpy.float16),
        "mask": numpy.array([True, False, True]),
        "größe.0": numpy.array([-1, 2**62], dtype=numpy.int64),
    }
    safetensors.numpy.save_file(arrays, target, metadata={"who": 'a "Python"\n\ttest'})


def describe(source):
    for name, info in sorted(safetensors.deserialize(open(source, "rb").read())):
        print(name, info["dtype"], list(info["shape"]), bytes(info["data"]).hex())


def judge(folder):
    for name in sorted(os.listdir(folder)):
        try:
            safetensors.deserialize(open(os.path.join(folder, name), "rb").read())
            print(name, "yes")
        except Exception:  # safetensors.SafetensorError, or what a wild size makes of it
            print(name, "no")


{"rewrite": rewrite, "numpy": write_numpy, "describe": describe, "judge": judge}[sys.argv[1]](
    *sys.argv[2:])
