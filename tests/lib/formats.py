# SPDX-License-Identifier: Apache-2.0
"""safetensors and .npy files as plain bytes, for tests that have neither numpy nor the packages of PyTorch.

An array is (dtype, shape, bytes), little-endian and in C order; dtype is the format's own word, "F32" or "<f4".
"""
import array
import ast
import json
import math
import struct

# .npy: what a dtype is called in Python's array module; bool and uint8 are bytes.
CODES = {"<f4": "f", "<f8": "d", "|u1": "B", "|b1": "B"}


def write_safetensors(path, tensors, metadata=None):
    """`tensors` maps names to arrays."""
    header, parts, size = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [size, size + len(raw)]}
        parts.append(raw)
        size += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def write_npy(path, dtype, shape, raw):
    text = repr({"descr": dtype, "fortran_order": False, "shape": tuple(shape)}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + raw)


def read_npy(path):
    """(dtype, shape, values), the values as an array.array."""
    with open(path, "rb") as f:
        raw = f.read()
    length = struct.unpack("<H", raw[8:10])[0]
    header = ast.literal_eval(raw[10:10 + length].decode())
    if raw[:8] != b"\x93NUMPY\x01\x00" or header["descr"] not in CODES or header["fortran_order"]:
        raise ValueError(f"{path}: unexpected header {header}")
    values = array.array(CODES[header["descr"]], raw[10 + length:])
    if len(values) != math.prod(header["shape"]):
        raise ValueError(f"{path}: {len(values)} values for the shape {header['shape']}")
    return header["descr"], header["shape"], values
