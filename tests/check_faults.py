#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Refuses the K-th allocation, read, write, fsync, rename, open or thread, and from the K-th on all of them, for every K until
nothing is refused any more, over all of a run: load, plan, run, write. By the command and by a program that uses the
libraries. tests/inject.c does the refusing, and says what it spares.

check_faults.py COMMAND PIPELINE_PROGRAM INJECT_LIBRARY

Each time the program must end by itself, with status 0 and whole outputs, or with status 1 and one line on stderr besides
warnings; an output is there whole, or as it was before; nothing else is left in the folder, and nothing in memory. Exit status 0
when so.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

command, pipeline, inject = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
golden = pathlib.Path(__file__).resolve().parent / "golden"
spatial, heads = golden / "spatial", golden / "heads-mask-3"
OUTPUTS = ["y.npy", "a.npy"]
OLD = b"what was there before"
FILES, ALL = ["OPEN", "READ"], ["MALLOC", "THREAD", "OPEN", "READ", "WRITE", "FSYNC", "RENAME"]
PATIENCE = 300 # seconds until a program that sleeps is given up

# Name, words, outputs, what must have been refused at least once.
CASES = [
    ("run", [command, "run", spatial / "weights.safetensors", "--layer", "auto", "--input", spatial / "input.npy",
             "--output", "y.npy", "--map", "a.npy", "--threads", "3", "--repeat", "1"], OUTPUTS, ALL),
    ("run with inputs", [command, "run", heads / "weights.safetensors", "--layer", "multi-head", "--set", "num_heads=2",
                         "--input", heads / "input.npy", "--key", heads / "key.npy", "--value", heads / "value.npy", "--mask",
                         heads / "mask.npy", "--output", "y.npy", "--map", "a.npy", "--map-rows", "0,1", "--threads", "1"],
     OUTPUTS, ["MALLOC", *FILES, "WRITE", "FSYNC", "RENAME"]),
    ("info", [command, "info", spatial / "weights.safetensors", "--json"], [], ["MALLOC", *FILES]),
    ("library", [pipeline, spatial / "weights.safetensors", spatial / "input.npy", "y.npy", "a.npy", "y2.npy", "a2.npy"],
     [*OUTPUTS, "y2.npy", "a2.npy"], ALL),
]
faults, trials = [], 0


def start(words, folder, settings):
    """How it ended, (failures, leaked), the files it left."""
    report = folder / "report"
    environment = os.environ | {"LD_PRELOAD": str(inject), "INJECT_REPORT": str(report), "HWLOC_SYNTHETIC": "core:2 pu:1",
                                "LC_ALL": "C"} | settings
    if words[0] != pipeline: # which starts by itself
        environment["INJECT_AT_START"] = "1"
    done = subprocess.run([str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=PATIENCE)
    numbers = re.fullmatch(r"failures (\d+) leaked (-?\d+)\n", report.read_text()) if report.exists() else None
    report.unlink(missing_ok=True)
    return done, numbers and (int(numbers[1]), int(numbers[2])), {p.name: p.read_bytes() for p in folder.iterdir()}


def says_one_line(said):
    lines = [line for line in said.splitlines() if not line.startswith("attentile: warning: ")]
    return len(lines) == 1 and lines[0].strip() and said.endswith("\n")


def judge(done, report, files, outputs, whole, old):
    """What is wrong, or None."""
    if not report:
        return "did not end by itself"
    if done.returncode not in (0, 1):
        return f"ended with status {done.returncode}"
    if report[1]:
        return f"leaked {report[1]}"
    if done.returncode == 1 and not says_one_line(done.stderr):
        return "did not say one line"
    if done.returncode == 1 and not report[0]:
        return "failed by itself"
    if done.returncode == 0 and not outputs and done.stdout != whole[None]:
        return "has not printed all of it"
    for name in outputs:
        if files.get(name) == whole[name] or (done.returncode and files.get(name) == old):
            continue
        return f"left a {name} that is " + ("not whole" if name in files else "not there")
    strangers = files.keys() - set(outputs)
    return f"left {sorted(strangers)}" if strangers else None


def trial(case, target, mode, k, whole):
    """Whether something was refused."""
    global trials
    name, words, outputs, _ = case
    old = OLD if k % 2 else None
    with tempfile.TemporaryDirectory() as folder:
        for output in outputs if old else []:
            (pathlib.Path(folder) / output).write_bytes(old)
        done, report, files = start(words, pathlib.Path(folder), {f"INJECT_{target}": f"{mode}:{k}"})
    trials += 1
    wrong = judge(done, report, files, outputs, whole, old)
    if wrong:
        faults.append(f"{name}, {target} {mode} {k}: {wrong} ({done.stderr.strip()})")
    return report is None or report[0] > 0


def check(case):
    name, words, outputs, needed = case
    with tempfile.TemporaryDirectory() as folder:
        done, report, whole = start(words, pathlib.Path(folder), {})
    if done.returncode or report != (0, 0) or sorted(whole) != sorted(outputs):
        faults.append(f"{name}: without faults: status {done.returncode}, {report}, {sorted(whole)}, {done.stderr.strip()}")
        return
    whole[None] = done.stdout # what it prints, where that is the result
    for target in needed:
        refused = []
        for mode in ("once", "from"):
            k = 1
            while k < 2000 and trial(case, target, mode, k, whole):
                k += 1
            refused.append(k - 1)
        if 0 in refused:
            faults.append(f"{name}, {target}: nothing was refused")
        print(f"{name}: {target} at {refused[0]} places, from {refused[1]}")


for one in CASES:
    check(one)
print("\n".join([*faults, f"{trials} trials, {len(faults)} faults"]))
sys.exit(1 if faults or not trials else 0)
