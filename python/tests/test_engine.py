# SPDX-License-Identifier: Apache-2.0
"""Engines: options, information, threads."""
import os
import threading
import time
import timeit

import numpy
import pytest

import attentile


def test_options():
    with attentile.Engine(threads=1, max_isa="scalar") as engine:
        assert (engine.threads, engine.isa, engine.info.threads_requested) == (1, "scalar", 1)
        assert all(name.endswith("_scalar") for name in engine.kernels.values()) and len(engine.kernels) > 5
        assert repr(engine) == "<attentile.Engine: 1 threads, scalar>"
        assert engine.info.cpu and engine.info.processors_available >= 1


@pytest.mark.parametrize("options, kind, text", [
    (dict(threads=-4), attentile.InvalidArgument, r"threads: out of range \(expected 1 to 1024, .* got -4\)"),
    (dict(threads=2 ** 32 + 1), attentile.InvalidArgument, "threads: out of range .*32 bits, got 4294967297"),
    (dict(threads=2000), attentile.InvalidArgument, "threads: out of range"),
    (dict(max_isa="sse"), attentile.InvalidArgument, "max_isa: no such instruction set"),
    (dict(max_isa="neon" if os.uname().machine == "x86_64" else "avx2"), attentile.Unsupported, "max_isa: "),
])
def test_wrong_options(options, kind, text):
    with pytest.raises(kind, match=text) as caught:
        attentile.Engine(**options)
    assert isinstance(caught.value, RuntimeError) and caught.value.status == kind.status


def test_environment(monkeypatch):
    monkeypatch.setenv("ATTENTILE_NUM_THREADS", "many")
    with pytest.raises(attentile.InvalidArgument, match="ATTENTILE_NUM_THREADS"):
        attentile.Engine()


def test_the_default_engine():
    engine = attentile.default_engine()
    assert attentile.default_engine() is engine
    engine.close()
    assert attentile.default_engine() is not engine
    assert attentile.default_engine().threads >= 1


def test_many_threads(engine, spatial, floats):
    """Any number of Python threads on one plan, each with arrays of its own."""
    plan = engine.plan(spatial, (1, 6, 12, 12))
    inputs = [floats(1 + i % 3, 6, 12, 12) for i in range(8)]
    want, wrong = [plan.run(x) for x in inputs], []

    def work(i):
        call = plan.bind(inputs[i])
        wrong.extend(i for _ in range(20) if not numpy.array_equal(call(), want[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_other_threads_go_on_during_a_run(spatial, floats):
    """The interpreter's lock is free: this thread ticks while another one is in a run. If it were not, this thread would
    stand still for at least as long as a run takes."""
    x = floats(4, 6, 128, 128)
    call = attentile.Engine(threads=1).plan(spatial, x.shape).bind(x)
    shortest = min(timeit.repeat(call, number=1, repeat=2))
    for _ in range(10): # a busy machine may keep this thread from running just then
        thread = threading.Thread(target=call)
        ticks = [time.perf_counter()]
        thread.start()
        while thread.is_alive():
            ticks.append(time.perf_counter())
        thread.join()
        if max(later - sooner for sooner, later in zip(ticks, ticks[1:])) < shortest / 2:
            return
    pytest.fail("no other thread ran during a run")
