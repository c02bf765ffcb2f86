#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUTPUT.c NAME=FILE...: each FILE's bytes as `const unsigned char NAME[]` with their number, `const size_t NAME_size`;
a NUL follows them."""
import pathlib
import sys


def definition(name, data):
    lines = "\n".join('"' + "".join(f"\\{byte:03o}" for byte in data[i:i + 32]) + '"' for i in range(0, len(data), 32))
    return f"const size_t {name}_size = {len(data)};\nconst unsigned char {name}[] =\n{lines};\n"


parts = ['#include <stddef.h>\n#include "embedded.h"\n']
for word in sys.argv[2:]:
    name, _, path = word.partition("=")
    parts.append(definition(name, pathlib.Path(path).read_bytes()))
pathlib.Path(sys.argv[1]).write_text("".join(parts), encoding="ascii")
