#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the attentile command on the golden cases and compares with what PyTorch made of them (tests/golden/generate.py).

check_golden.py [--command PATH] [--cases FOLDER] [NAME]...

The last line is "N passed, N failed". Exit status 0 when all pass, 1 when one fails or there was none.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))

from lib import formats # noqa: E402


def command_line(command, case, options, y, weights):
    line = [command, "run", str(case / "weights.safetensors"), "--input", str(case / "input.npy"), "--output", y]
    if options["layer"]:
        line += ["--layer", options["layer"]]
    if options.get("prefix"):
        line += ["--prefix", options["prefix"]]
    for name, value in options["set"].items():
        line += ["--set", f"{name}={value}"]
    for rename in options.get("rename", []):
        line += ["--rename", rename]
    for name in ("key", "value", "mask"):
        if (case / f"{name}.npy").exists():
            line += [f"--{name}", str(case / f"{name}.npy")]
    if (case / "expected_map.npy").exists():
        line += ["--map", weights]
        if "map_rows" in options:
            line += ["--map-rows", ",".join(map(str, options["map_rows"]))]
    return line


def difference(got_path, want_path, rtol, atol):
    """What is wrong with a result, None = nothing."""
    dtype, shape, got = formats.read_npy(got_path)
    _, want_shape, want = formats.read_npy(want_path)
    if dtype != "<f4" or shape != want_shape:
        return f"expected float32 {want_shape}, got {dtype} {shape}"
    worst, at = 0.0, 0
    for i, (a, b) in enumerate(zip(got, want)):
        allowed = atol + rtol * abs(b)
        used = abs(a - b) / allowed if allowed else 0.0 if a == b else math.inf
        if not used <= worst: # NaN is the worst
            worst, at = (used if used == used else math.inf), i
    if worst <= 1:
        return None
    return f"element {at}: expected {want[at]:.9g}, got {got[at]:.9g}, {worst:.3g} of the tolerance"


def check(command, case):
    """What is wrong with a case, None = nothing."""
    options = json.loads((case / "case.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        y, weights = os.path.join(folder, "y.npy"), os.path.join(folder, "a.npy")
        done = subprocess.run(command_line(command, case, options, y, weights), capture_output=True, text=True)
        if done.returncode:
            return f"exit status {done.returncode}: {done.stderr.strip()}"
        fault = difference(y, case / "expected.npy", options["rtol"], options["atol"])
        if not fault and (case / "expected_map.npy").exists():
            fault = difference(weights, case / "expected_map.npy", options["map_rtol"], options["map_atol"])
            fault = fault and "map: " + fault
    return fault


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--command", default=os.environ.get("ATTENTILE_COMMAND", "build/tools/attentile"))
    parser.add_argument("--cases", type=pathlib.Path, default=here / "golden")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    cases = [options.cases / name for name in options.names] or sorted(p.parent for p in
                                                                       options.cases.glob("*/case.json"))
    passed = 0
    for case in cases:
        fault = check(options.command, case)
        passed += not fault
        if fault:
            print(f"{case.name}: {fault}")
    print(f"{passed} passed, {len(cases) - passed} failed")
    return 0 if cases and passed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
