#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the attentile command on hostile files: those of tests/hostile, and the large ones that make.py there can write.

check_hostile.py [--command PATH] [--no-limits] [--record] [TEXT]...

table.tsv beside the files says, for each, the words of the command ("@" is the file), the exit status and the fault. The
command must end with that status; a refusal is that one line on stderr, names the file, and leaves no file behind. It gets
2 seconds of processor time, and as much memory as a checkpoint may need: 16 times its header, the file, and 64 MiB.

  --no-limits   without these limits: a sanitizer needs more
  --record      write the table anew, from what the command says now
  TEXT          only rows in which one of these texts occurs

The last line is "N passed, N failed". Exit status 0 when all pass, 1 when one fails or there was none.
"""
import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
here = pathlib.Path(__file__).resolve().parent / "hostile"
sys.path.insert(0, str(here))

import large # noqa: E402
import make # noqa: E402

TABLE = here / "table.tsv"
HEADER = "file\twords\tstatus\tfault"
SECONDS, PATIENCE = 2, 300 # of processor time; until something that sleeps is given up
MIB = 1 << 20
CONTROLS = {chr(code) for code in [*range(32), *range(127, 160)]} - {"\n"} # terminals obey them


def read_table():
    """file -> (words, status, fault)"""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER
    return {row[0]: (row[1], int(row[2]), row[3]) for row in (line.split("\t") for line in lines[1:])}


def wanted_words():
    """file -> words, of all files that there are to be"""
    words = {name: line for name, _, line in make.corpus() if line}
    return words | {"large/" + name: line for name, line, _ in large.LARGE}


def memory_limit(path):
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" and size >= 8 else 10000
    return 16 * min(header, size) + size + 64 * MIB


def put(name, path):
    """Writes or copies the file of a row."""
    if name.startswith("large/"):
        large.write(path, next(made for file, _, made in large.LARGE if "large/" + file == name))
    else:
        shutil.copy(here / name, path)


class Runner:
    def __init__(self, command, limits):
        self.command, self.limits = str(pathlib.Path(command).resolve()), limits
        self.environment = {**os.environ, "ATTENTILE_NUM_THREADS": "1", "LC_ALL": "C"}

    def run(self, name, words):
        """(status, what it said of the file, what else is wrong)"""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / os.path.basename(name)
            for good in (here / "good").iterdir():
                shutil.copy(good, folder)
            put(name, path)
            before = set(os.listdir(folder))
            line = [path.name if word == "@" else word for word in words.split()]
            line += ["--output", "y.npy"] if line[0] == "run" else []
            done, used = self.start(line, folder, memory_limit(path))
            left = set(os.listdir(folder)) - before
            return (done.returncode, *self.judge(path, done, left, used, line[0]))

    def start(self, line, folder, memory):
        def limit():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if self.limits:
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([self.command, *line], cwd=folder, env=self.environment, capture_output=True, timeout=PATIENCE,
                              preexec_fn=limit)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def judge(self, path, done, left, used, command):
        said = done.stderr.decode("utf-8", "surrogateescape")
        if done.returncode == 0:
            printed = done.stdout.decode("utf-8", "replace")
            wrong = "says something on stderr" if said else ""
            wrong = wrong or ("prints control characters" if CONTROLS & set(printed) else "")
            wrong = wrong or ("" if left == ({"y.npy"} if command == "run" else set()) else f"has left {sorted(left)}")
            return said, wrong
        wrong = f"has left {sorted(left)}" if left else "prints on stdout" if done.stdout else ""
        if done.returncode not in (1, 2):
            wrong = f"ends with status {done.returncode} after {used:.2f} s"
        start = "attentile: "
        if CONTROLS & set(said):
            wrong = wrong or "says control characters"
        if not said.startswith(start) or said.count("\n") != 1 or not said.endswith("\n"):
            return said, wrong or f"does not say one line: {said!r}"
        if path.name not in said:
            wrong = wrong or f"does not name the file: {said!r}"
        return said[len(start):-1].replace(path.name, "@"), wrong


def corpus_faults():
    """What differs between the files and what make.py writes."""
    made = {name: data for name, data, _ in make.corpus()}
    there = {str(p.relative_to(here)) for folder in ("refused", "unsuitable", "accepted", "good")
             for p in (here / folder).iterdir()}
    yield from (f"{name} is not made by make.py" for name in sorted(there - made.keys()))
    for name, data in made.items():
        if name not in there or (here / name).read_bytes() != data:
            yield f"{name} is not what make.py writes"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--command", default=os.environ.get("ATTENTILE_COMMAND", "build/tools/attentile"))
    parser.add_argument("--no-limits", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    options = parser.parse_args()
    if options.record and options.texts:
        parser.error("--record takes no TEXT: the table is written whole")
    runner = Runner(options.command, not options.no_limits)
    words, table = wanted_words(), {} if options.record else read_table()
    faults = list(corpus_faults()) + [f"{name} is in the table only" for name in table.keys() - words.keys()]
    passed, rows = 0, []
    for name, line in words.items():
        wanted = table.get(name, (line, 0 if name.startswith("accepted/") else 1, ""))
        if not any(text in f"{name}\t{line}" for text in options.texts or [""]):
            continue
        status, said, wrong = runner.run(name, line)
        if name.startswith("refused/") and line == large.INFO and not wrong:
            again = runner.run(name, large.RUN)
            wrong = again[2] or ("" if again[:2] == (status, said) else f"{large.RUN!r} says {again[:2]}")
        rows.append(f"{name}\t{line}\t{status}\t{said}")
        if not options.record and not wrong and (line, status, said) != wanted:
            wrong = f"expected {wanted}, got {(line, status, said)}"
        faults += [f"{name}: {wrong}"] if wrong else []
        passed += not wrong
    if options.record:
        TABLE.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    print("\n".join([*faults, f"{passed} passed, {len(faults)} failed"]))
    return 1 if faults or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
