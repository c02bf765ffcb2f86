# SPDX-License-Identifier: Apache-2.0
"""Files that are large, or say so, made when they are needed: (file, words) and how to write each."""
from checkpoints import checkpoint, shape, t

INFO = "info @"
RUN = "run @ --layer se --input x.npy"
MANY = 100_000
LIMIT = 100_000_000 # bytes of a header


def entries(names):
    return ",".join(t(name, f"[{i},{i + 1}]") for i, name in enumerate(names))


def many(names, after=""):
    names = list(names)
    return lambda: checkpoint("{" + entries(names) + after + "}", len(names))


def pairs(count, after=""):
    return lambda: checkpoint('{"__metadata__":{' + ",".join(f'"k{i}":""' for i in range(count)) + after + "}}", 0)


def branches():
    """Selective kernels with as many branches as there are names."""
    return many(name for i in range(MANY // 4) for name in
                (f"convs.{i}.0.weight", f"convs.{i}.1.weight", f"fcs.{i}.weight", f"fcs.{i}.bias"))


def header(text, size):
    """A header of `size` bytes: the text, spaces, and nothing of them on the disk."""
    return text, size


LARGE = [
    ("tensors-100000.safetensors", INFO, many(f"layer.{i}.weight" for i in range(MANY))),
    ("tensors-100000-run.safetensors", RUN, many(f"layer.{i}.weight" for i in range(MANY))),
    ("tensors-100000-auto.safetensors", "run @ --layer auto --input x.npy", branches()),
    ("tensors-100000-with-a-name-twice.safetensors", INFO,
     many([*(f"layer.{i}.weight" for i in range(MANY)), "layer.0.weight"])),
    ("tensors-100000-of-one-prefix.safetensors", INFO, many(f"fc.0.weight.{i}" for i in range(MANY))),
    ("tensors-100000-nested.safetensors", INFO, many("a." * (i % 300) + str(i) for i in range(MANY // 10))),
    ("tensors-100000-of-one-place.safetensors", INFO, lambda: checkpoint("{" + ",".join(
        t(f"t{i}", "[0,1]") for i in range(MANY)) + "}", 1)),
    ("branches-25000.safetensors", "run @ --layer sk --input x.npy", branches()),
    ("branches-25000-info.safetensors", INFO, branches()),
    ("pairs-100000.safetensors", INFO, pairs(MANY)),
    ("pairs-100000-with-a-key-twice.safetensors", INFO, pairs(MANY, ',"k5":""')),
    ("parameters-100000.safetensors", RUN, lambda: checkpoint('{"__metadata__":{' + ",".join(
        f'"attentile.p{i}":""' for i in range(MANY)) + "}}", 0)),
    ("deep-arrays-1000000.safetensors", INFO, lambda: checkpoint("[" * 1_000_000, 0)),
    ("deep-objects-1000000.safetensors", INFO, lambda: checkpoint('{"a":' * 1_000_000, 0)),
    ("deep-metadata-1000000.safetensors", INFO, lambda: checkpoint('{"__metadata__":' * 1_000_000, 0)),
    ("name-of-8000000-dots.safetensors", INFO, lambda: checkpoint("{" + t("." * 8_000_000, "[0,1]") + "}", 1)),
    ("name-of-8000000-escapes.safetensors", INFO, lambda: checkpoint("{" + t("\\u0061" * 1_333_333, "[0,1]") + "}", 1)),
    ("header-at-the-limit.safetensors", INFO, header("{}", LIMIT)),
    ("header-at-the-limit-open.safetensors", INFO, header("{", LIMIT)),
    ("header-over-the-limit.safetensors", INFO, header("{}", LIMIT + 1)),
    ("header-of-zeros.safetensors", INFO, header("", LIMIT)),
    ("shape-without-end.safetensors", INFO, lambda: checkpoint(shape("[" + "1," * 4_000_000, "[0,1]"), 1)),
]


def write(path, made):
    if callable(made):
        path.write_bytes(made())
        return
    text, size = made
    with open(path, "wb") as file:
        file.write(size.to_bytes(8, "little") + text.encode())
        if text:
            file.write(b" " * (size - len(text)))
        else:
            file.truncate(8 + size)
