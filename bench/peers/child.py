# SPDX-License-Identifier: Apache-2.0
"""One contender in a process of its own: with a limit, so that it cannot take the machine along, and with its peak memory.

python -m peers.child reads what to do as JSON from its standard input and writes what it found to a file; outputs go beside
it. A child that dies has run out of memory, or failed: its end is all that is known.
"""
import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile

from peers import options

FREE_SHARE = 0.85 # of the memory that is free, for what the contender allocates
LONGEST = 1800    # seconds


def run(case, name, rounds=None, wants_outputs=False):
    """{"status": "ok", times, "peak_bytes", "outputs"}, or {"status", "message"}."""
    task = {"row": dataclasses.asdict(case.row), "threads": case.threads, "with_map": case.with_map, "contender": name,
            "rounds": rounds, "wants_outputs": wants_outputs}
    with tempfile.TemporaryDirectory() as folder:
        task["folder"] = folder
        try:
            done = subprocess.run([sys.executable, "-m", "peers.child"], input=json.dumps(task), text=True,
                                  capture_output=True, timeout=LONGEST, check=False, env=environment(rounds))
        except subprocess.TimeoutExpired:
            return {"status": "failed", "message": f"still running after {LONGEST} s"}
        result = pathlib.Path(folder, "result.json")
        if done.returncode or not result.exists():
            return fate(done)
        found = json.loads(result.read_text())
        if wants_outputs and found["status"] == "ok":
            found["outputs"] = read_outputs(folder)
        return found


def environment(rounds):
    """The parent's; where nothing is timed, memory goes back to the system as usual."""
    return options.without_kept_memory(os.environ) if rounds == 0 else dict(os.environ)


def fate(done):
    """Of a child that left no result."""
    if done.returncode in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        word = signal.Signals(-done.returncode).name
        return {"status": "out of memory", "message": f"ended by {word} under its memory limit"}
    lines = done.stderr.strip().splitlines() or ["no message"]
    return {"status": "failed", "message": lines[-1][:300]}


def fate_of(error):
    """(status, message) of a contender that raised."""
    while error.__cause__:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    memory = isinstance(error, MemoryError) or re.search("memory|bad_alloc|allocat", text, re.I)
    return "out of memory" if memory else "failed", text.splitlines()[0][:300]


def read_outputs(folder):
    import numpy as np

    return [np.load(path) for path in sorted(pathlib.Path(folder).glob("output*.npy"))]


# ---------------------------------------------------------------- in the child


def status_bytes(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def free_bytes():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE")


def volunteer():
    """Should the system run out of memory all the same, this process is what it ends."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")


def limit_memory():
    """To what is mapped now and most of what is free."""
    limit = status_bytes("VmSize") + int(FREE_SHARE * free_bytes())
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def give_back():
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def small(row):
    """The same layer over few positions: what a library loads and sets up once, it does there."""
    from peers.rows import Row

    shape = list(row.shape)
    axes = range(len(shape) - 1) if row.kind == "multi-head" else range(1, len(shape))
    for axis in axes:
        shape[axis] = min(shape[axis], 8)
    return Row(row.kind, row.name, 1, tuple(shape), row.widths, row.settings)


def output_bytes(outputs):
    return sum(out.nbytes for out in outputs)


def measure(task):
    import attentile # noqa: F401  before PyTorch, see isolate.py
    import torch

    from peers import isolate, timing
    from peers.contenders import CONTENDERS, Case
    from peers.rows import Row

    isolate.check()
    torch.set_num_threads(task["threads"])
    contender = next(c for c in CONTENDERS if c.name == task["contender"])
    row = Row(**{**task["row"], "shape": tuple(task["row"]["shape"])})
    warm, case = (Case.of(r, task["threads"], with_map=task["with_map"]) for r in (small(row), row))
    with torch.inference_mode():
        ready = contender.prepare(warm)
        ready.call()
        del ready
        volunteer()
        limit_memory()
        give_back()
        pathlib.Path("/proc/self/clear_refs").write_text("5") # starts the peak anew
        before = status_bytes("VmRSS")
        ready = contender.prepare(case)
        ready.call()
        outputs = ready.outputs()
        found = {"status": "ok", "peak_bytes": max(0, status_bytes("VmHWM") - before - output_bytes(outputs))}
        if task["wants_outputs"]:
            save(outputs, task["folder"])
        if task["rounds"] != 0:
            taken = timing.interleave({contender.name: ready.call}, task["rounds"])[contender.name]
            found.update(taken.record())
    return found


def save(outputs, folder):
    import numpy as np

    for index, out in enumerate(outputs):
        np.save(os.path.join(folder, f"output{index}.npy"), out)


def main():
    task = json.load(sys.stdin)
    os.environ["TQDM_DISABLE"] = "1"
    try:
        found = measure(task)
    except Exception as error: # whatever a library raises, it is a result
        status, message = fate_of(error)
        found = {"status": status, "message": message}
    pathlib.Path(task["folder"], "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
