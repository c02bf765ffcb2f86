#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads files with this library and with the Python loaders, `safetensors` and `numpy`: what both accept must have the same
names, dtypes, shapes and bytes. What only one accepts must have one of the reasons below.

check_loaders.py SOURCE [FILE OR FOLDER]...   the library is in ATTENTILE_LIBRARY; without files: tests/hostile, tests/golden
                                              and tests/fuzz/corpus

Without `safetensors` the arrays alone are compared. Exit status 0 when all agree, 77 when NumPy is not installed; where
continuous integration runs, that is a failure.
"""
import ctypes
import importlib.util
import io
import os
import pathlib
import re
import sys

sys.dont_write_bytecode = True
source = pathlib.Path(sys.argv[1]).resolve()
if not importlib.util.find_spec("numpy"):
    print(f"skip the Python loaders: {sys.executable} has no numpy")
    sys.exit(1 if os.environ.get("CI") else 77)
sys.path.insert(0, str(source / "python"))

import numpy # noqa: E402
from attentile import _abi, _library # noqa: E402

try:
    import safetensors
except ImportError: # no distribution has it
    safetensors = None

# What we refuse and they accept: a pattern of our message, and why.
STRICTER = {
    "npy": {
        "not little-endian": "NumPy swaps bytes; here data is read as it is",
        "dtype not supported": "no layer takes these, nor a spelling that numpy.save does not write",
        "structured dtypes": "no layer takes these",
        "more than 8 axes": "ATL_MAX_RANK",
        "Fortran order": "NumPy transposes; here data is read as it is",
        "a size in shape is 0": "arrays without elements are no input (so is 0x2 read, as 0)",
        "wrong size of the data": "NumPy ignores what follows the data",
        "shape is no tuple of sizes|a quoted string is missing|no name or dtype|a key twice|an unknown key|something follows":
            "NumPy evaluates the header as Python, with expressions that numpy.save never writes",
    },
    "safetensors": {
        r"byte 0 \(expected an object": "the format has the object begin at once; its reader skips white space",
        "expected fewer elements": "ATL_MAX_RANK",
        "without NUL": "names are C strings",
        "unknown field": "fields that the format does not have; its reader ignores them",
        "duplicate name": "of metadata; its reader keeps the last",
        r"expected an object, got 'n'": "metadata that is null; its reader takes it for none",
        r"expected an object, got '\['": "an entry as an array of its fields, which its reader's JSON library offers",
        r"expected a string, got '\{'": 'a dtype as {"U8":null}, likewise',
    },
}


class Array(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int), ("rank", ctypes.c_int), ("shape", ctypes.c_int64 * _abi.MAX_RANK),
                ("data", ctypes.c_void_p)]


HANDLE, ERROR = ctypes.c_void_p, ctypes.POINTER(_abi.Error)
_library._declare(_library.io, {
    "atl_npy_read": (ctypes.c_int, [ctypes.c_char_p, ctypes.POINTER(Array), ERROR]),
    "atl_array_clear": (None, [ctypes.POINTER(Array)]),
    "atl_checkpoint_load": (ctypes.c_int, [HANDLE, ctypes.c_char_p, ERROR]),
    "atl_checkpoint_bytes": (ctypes.c_int64, [HANDLE, ctypes.c_size_t]),
    "atl_checkpoint_dtype_name": (ctypes.c_char_p, [HANDLE, ctypes.c_size_t]),
})
NAMES = {number: name for name, number in _abi.DTYPES.items()}


class Refused(Exception):
    pass


def call(function, *arguments):
    error = _abi.Error()
    if function(*arguments, ctypes.byref(error)):
        raise Refused(error.message.decode("utf-8", "replace"))


# Each returns {name: (dtype, shape, bytes)}, or raises.

def our_checkpoint(path):
    handle = ctypes.c_void_p()
    call(_library.io.atl_checkpoint_open, os.fsencode(path), ctypes.byref(handle))
    try:
        call(_library.io.atl_checkpoint_load, handle, None)
        tensors = _library.io.atl_checkpoint_tensors(handle)
        return {tensors[i].name.decode(): (_library.io.atl_checkpoint_dtype_name(handle, i).decode(),
                                           tuple(tensors[i].shape[:tensors[i].rank]),
                                           ctypes.string_at(tensors[i].data, _library.io.atl_checkpoint_bytes(handle, i)))
                for i in range(_library.io.atl_checkpoint_count(handle))}
    finally:
        _library.io.atl_checkpoint_close(handle)


def their_checkpoint(path):
    return {name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
            for name, tensor in safetensors.deserialize(path.read_bytes())}


def our_array(path):
    array = Array()
    call(_library.io.atl_npy_read, os.fsencode(path), ctypes.byref(array))
    try:
        dtype, shape = numpy.dtype(NAMES[array.dtype]), tuple(array.shape[:array.rank])
        count = int(numpy.prod(shape, dtype=object))
        return {"": (dtype.str, shape, ctypes.string_at(array.data, count * dtype.itemsize))}
    finally:
        _library.io.atl_array_clear(array)


def their_array(path):
    array = numpy.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if not isinstance(array, numpy.ndarray):
        raise ValueError("no array")
    return {"": (array.dtype.str, array.shape, array.tobytes())}


LOADERS = {"npy": (our_array, their_array)}
if safetensors:
    LOADERS["safetensors"] = our_checkpoint, their_checkpoint


def kind_of(path):
    """By the file's ending, or by the folder: what the fuzzer has found has no endings."""
    return path.suffix[1:] if path.suffix[1:] in LOADERS else path.parent.name


def attempt(loader, path):
    """(what was read, None) or (None, why not)"""
    try:
        return loader(path), None
    except Refused as why:
        return None, str(why)
    except Exception as why: # theirs are of many types
        return None, f"{type(why).__name__}: {why}"


def main():
    given = [pathlib.Path(word).resolve() for word in sys.argv[2:]]
    roots = given or [source / "tests" / name for name in ("hostile", "golden", "fuzz/corpus")]
    found = (p for root in roots for p in ([root] if root.is_file() else root.rglob("*")))
    paths = sorted({p for p in found if p.is_file() and kind_of(p) in LOADERS})
    counts, used, faults = {"both": 0, "neither": 0, "they alone": 0}, set(), []
    for path in paths:
        kind = kind_of(path)
        ours, theirs = LOADERS[kind]
        (mine, why), (other, why_not) = attempt(ours, path), attempt(theirs, path)
        if mine is not None and other is not None:
            counts["both"] += 1
            if mine != other:
                faults.append(f"{path}: we read {mine!r:.300}, they {other!r:.300}")
        elif mine is None and other is None:
            counts["neither"] += 1
        elif mine is not None:
            faults.append(f"{path}: they refuse it: {why_not}")
        else:
            counts["they alone"] += 1
            reason = next((p for p in STRICTER[kind] if re.search(p, why)), None)
            used.add((kind, reason))
            if reason is None:
                faults.append(f"{path}: they accept it, and we say: {why}")
    if not given:
        faults += [f"the reason {pattern!r} was not needed" for kind in LOADERS for pattern in STRICTER[kind]
                   if (kind, pattern) not in used]
    versions = f"NumPy {numpy.__version__}" + (f" and safetensors {safetensors.__version__}" if safetensors else "")
    if not safetensors:
        print(f"skip the checkpoints: {sys.executable} has no safetensors")
    print("\n".join([*faults, f"{len(paths)} files with {versions}: " +
          ", ".join(f"{count} read by {who}" for who, count in counts.items())]))
    return 1 if faults or not counts["both"] else 0


if __name__ == "__main__":
    sys.exit(main())
