#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the fuzz targets with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs each for a while, from the
corpus and the hostile files (docs/fuzzing.md).

check_fuzz.py SOURCE BUILD [--runs N] [--new FOLDER]

  --runs N       executions per target, those of the corpus included (default: 20,000 to 200,000)
  --new FOLDER   keep what is found in FOLDER/TARGET, and begin with what is there

What makes a target fail is kept in BUILD. Exit status 0, 1 when one fails, 77 without clang and its runtime libraries.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Target: what it begins with besides its corpus, all in tests/; the dictionary; executions of a short run.
TARGETS = {"safetensors": (["hostile"], "safetensors", 100000), "npy": (["hostile"], "npy", 200000),
           "layer": ([], "safetensors", 20000), "options": ([], "options", 100000)}
LONGEST = 4096
SECONDS = 3000 # a hang, also where the machine is stopped now and then


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--new", type=pathlib.Path)
    options = parser.parse_args()
    options.source, options.build = options.source.resolve(), options.build.resolve()
    return options


def can_fuzz(clang):
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "unit.c"
        unit.write_text("#include <omp.h>\nint LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }\n")
        done = subprocess.run([clang, "-fopenmp", "-fsanitize=fuzzer,address,undefined", unit, "-o", unit.with_suffix("")],
                              capture_output=True)
        return done.returncode == 0


def build(options):
    """Whether all targets are there."""
    # The flag lets libFuzzer see which branches are taken.
    environment = {name: value for name, value in os.environ.items() if name != "LDFLAGS"}
    environment |= {"CC": "clang", "CFLAGS": "-fsanitize=fuzzer-no-link"}
    if not (options.build / "build.ninja").exists():
        setup = ["meson", "setup", options.build, options.source, "--buildtype=debugoptimized", "-Dfuzz=true",
                 "-Dcommand=enabled", "-Dtests=disabled", "-Dbench=disabled", "-Db_sanitize=address,undefined",
                 "-Db_lundef=false"]
        done = subprocess.run(setup, env=environment, capture_output=True, text=True)
        if done.returncode:
            print("FAIL set up\n" + done.stdout + done.stderr)
            return False
    names = [f"tests/fuzz/fuzz_{name}" for name in TARGETS]
    done = subprocess.run(["ninja", "-C", options.build, *names], env=environment, capture_output=True, text=True)
    print("ok   build" if done.returncode == 0 else "FAIL build\n" + done.stdout[-4000:])
    return done.returncode == 0


def run(options, name, others, dictionary, runs):
    """Whether a target ended well."""
    tests = options.source / "tests"
    with tempfile.TemporaryDirectory() as scratch:
        new = options.new / name if options.new else pathlib.Path(scratch)
        new.mkdir(parents=True, exist_ok=True)
        corpora = [new, tests / "fuzz/corpus" / name, *(tests / other for other in others)]
        command = [options.build / f"tests/fuzz/fuzz_{name}", f"-runs={runs}", f"-max_len={LONGEST}",
                   "-print_final_stats=1", f"-timeout={SECONDS}", f"-report_slow_units={SECONDS}",
                   f"-dict={tests}/fuzz/{dictionary}.dict", f"-artifact_prefix={options.build}/{name}-", *corpora]
        environment = os.environ | {"UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1"}
        done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True,
                              errors="replace")
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    ok = done.returncode == 0 and executed and int(executed[1]) >= runs
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {executed[1] if executed else 'no'} executions")
    if not ok:
        print(done.stderr[-4000:])
    return ok


def main():
    options = parse()
    clang = shutil.which("clang")
    if not clang or not can_fuzz(clang):
        print("skip fuzzing: clang with libFuzzer, its sanitizers and OpenMP is not installed")
        return 77
    if not build(options):
        return 1
    return 0 if all([run(options, name, others, dictionary, options.runs or runs)
                     for name, (others, dictionary, runs) in TARGETS.items()]) else 1


if __name__ == "__main__":
    sys.exit(main())
