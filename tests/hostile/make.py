#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the hostile files.

make.py FOLDER           the corpus that is committed beside this script: refused/ (for their format), unsuitable/ (right,
                         but not for the layer), accepted/ (odd, but right) and good/ (what goes with them)
make.py --large FOLDER   the large ones, which tests make when they need them
"""
import pathlib
import sys

sys.dont_write_bytecode = True
import accepted # noqa: E402
import arrays # noqa: E402
import checkpoints # noqa: E402
import large # noqa: E402
import layers # noqa: E402


def corpus():
    """(file, bytes, words of the command; None for what goes with the others)"""
    for name, data in checkpoints.refused():
        yield f"refused/{name}.safetensors", data, large.INFO
    for name, data in arrays.refused():
        yield f"refused/{name}.npy", data, layers.X
    for name, data, words in layers.unsuitable():
        yield f"unsuitable/{name}", data, words
    for name, data, words in accepted.accepted():
        yield f"accepted/{name}", data, words
    for name, data in layers.GOOD.items():
        yield f"good/{name}", data, None


def write_all(folder):
    written = set()
    for name, data, _ in corpus():
        assert name not in written, name
        written.add(name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return len(written)


def main(words):
    if len(words) == 2 and words[0] == "--large":
        folder = pathlib.Path(words[1])
        folder.mkdir(parents=True, exist_ok=True)
        for name, _, made in large.LARGE:
            large.write(folder / name, made)
    elif len(words) == 1 and not words[0].startswith("-"):
        print(f"{write_all(pathlib.Path(words[0]))} files")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
