#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a call of Plan.bind's object costs over the C call: both interleaved in one process, the best of several rounds.

    PYTHONPATH=python python3 bench/bind_cost.py

Needs a C compiler, for the loop that calls atl_run from C.
"""
import ctypes
import pathlib
import subprocess
import tempfile
import time

import numpy

import attentile
from attentile import _abi, _library

ROUNDS, CALLS = 15, 20000
LOOP = """
#include <attentile/attentile.h>
int64_t loop(atl_status (*run)(const atl_plan *, int64_t, const float *, float *, float *, const atl_run_options *, atl_error *),
             const atl_plan *plan, const float *x, float *y, const atl_run_options *options, int64_t calls) {
    atl_error error;
    int64_t failed = 0;
    for (int64_t i = 0; i < calls; i++)
        failed += run(plan, 1, x, y, 0, options, &error) != ATL_OK;
    return failed;
}
"""


def compile_loop(folder):
    (folder / "loop.c").write_text(LOOP)
    include = pathlib.Path(__file__).resolve().parents[1] / "include"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-I", include, "-o", folder / "loop.so", folder / "loop.c"], check=True)
    return ctypes.CDLL(str(folder / "loop.so")).loop


def in_c(loop, plan, x, y):
    """Nanoseconds of a call from C."""
    options = _library.defaults(_abi.RunOptions)
    begin = time.perf_counter_ns()
    failed = loop(ctypes.cast(_library.run, ctypes.c_void_p), plan.handle, ctypes.c_void_p(x.ctypes.data),
                  ctypes.c_void_p(y.ctypes.data), ctypes.byref(options), ctypes.c_int64(CALLS))
    assert not failed
    return (time.perf_counter_ns() - begin) / CALLS


def in_python(call):
    begin = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - begin) / CALLS


def main():
    rng = numpy.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder, attentile.Engine(threads=1) as engine:
        loop = compile_loop(pathlib.Path(folder))
        for shape in ((1, 8, 2, 2), (1, 64, 14, 14)):
            hidden, channels = 4, shape[1]
            layer = attentile.Layer("se", {"fc.0.weight": rng.standard_normal((hidden, channels)),
                                           "fc.2.weight": rng.standard_normal((channels, hidden))})
            plan, x = engine.plan(layer, shape), rng.standard_normal(shape).astype(numpy.float32)
            y = numpy.empty_like(x)
            call = plan.bind(x, out=y)
            rounds = [(in_c(loop, plan, x, y), in_python(call)) for _ in range(ROUNDS)]
            c, bound = (min(times) for times in zip(*rounds))
            print(f"se {'x'.join(map(str, shape))}: {c:.0f} ns from C, {bound:.0f} ns bound, {bound - c:.0f} ns more")


if __name__ == "__main__":
    main()
