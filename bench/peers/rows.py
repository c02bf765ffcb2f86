# SPDX-License-Identifier: Apache-2.0
"""The rows to measure: bench/shapes/*.txt, the lists that tests and benchmarks share. bench/shapes.h describes a line."""
import dataclasses
import math
import pathlib
import re

SHAPES = pathlib.Path(__file__).resolve().parents[1] / "shapes"
KINDS = ("se", "cbam-channel", "cbam-spatial", "cbam-res", "sk", "self-attention-spatial", "self-attention-channel",
         "non-local", "multi-head") # each has a list
GROWTH = "growth" # the list of layers over more and more positions


@dataclasses.dataclass(frozen=True)
class Row:
    kind: str
    name: str
    batch: int
    shape: tuple
    widths: dict   # of the weights: {"hidden": 16}
    settings: dict # of the layer, as text: {"num_heads": "12"}

    @property
    def positions(self):
        """Product of the axes behind the first."""
        return math.prod(self.shape[1:])

    def width(self, key, fallback):
        return self.widths.get(key, fallback)


def whole(text):
    if not re.fullmatch("[0-9]+", text) or int(text) < 1:
        raise ValueError(f"expected a positive whole number, got {text!r}")
    return int(text)


def parse(line):
    """The row of a line, or None where there is nothing on it."""
    words = line.split("#")[0].split()
    if not words:
        return None
    if len(words) < 4:
        raise ValueError(f"expected KIND NAME BATCH SHAPE [KEY=VALUE]..., got {line.strip()!r}")
    widths, settings = {}, {}
    for word in words[4:]:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ValueError(f"expected KEY=VALUE, got {word!r}")
        if key.startswith("set."):
            settings[key[len("set."):]] = value
        else:
            widths[key] = whole(value) if value != "0" else 0
    return Row(words[0], words[1], whole(words[2]), tuple(whole(size) for size in words[3].split("x")), widths, settings)


def read(name, folder=SHAPES):
    """The rows of a list."""
    found, path = [], folder / f"{name}.txt"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = parse(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        if row:
            found.append(row)
    return found


def read_all():
    return [row for kind in KINDS for row in read(kind)]
