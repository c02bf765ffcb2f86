# SPDX-License-Identifier: Apache-2.0
"""Nothing that is made stays: handles, memory, files, threads; in whatever order they go."""
import gc
import os
import time
import weakref

import numpy
import pytest

import attentile
from conftest import ROOT

MIB = 1 << 20


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_any_order_of_release(se, floats):
    x, engine = floats(2, 6, 5), attentile.Engine(threads=2)
    plan = engine.plan(se, x.shape)
    call, want = plan.bind(x), plan.run(x)
    engine.close()
    engine.close()
    assert repr(engine) == "<attentile.Engine, closed>"
    with pytest.raises(ValueError, match="engine: is closed"):
        engine.plan(se, x.shape)
    watched = weakref.ref(plan)
    del plan, engine
    gc.collect()
    assert numpy.array_equal(call(), want)
    assert watched() is not None
    del call
    gc.collect()
    assert watched() is None


def test_bound_runs_keep_what_they_read_and_write(engine, heads, floats):
    arrays = dict(x=floats(2, 4, 8), out=floats(2, 4, 8), key=floats(2, 4, 8), value=floats(2, 4, 8),
                  mask=numpy.ones((4, 4), bool), additive=floats(4, 4), map=floats(2, 2, 3, 4),
                  map_rows=numpy.array([1, 3, 2]))
    plan = engine.plan(heads, (2, 4, 8))
    want = plan.run(**{**arrays, "out": None, "map": True})
    watched = {name: weakref.ref(array) for name, array in arrays.items()}
    call = plan.bind(**arrays)
    arrays.clear()
    gc.collect()
    assert [name for name, array in watched.items() if array() is None] == []
    for got, wanted in zip(call(), want):
        assert numpy.array_equal(got, wanted)
    del call, got
    gc.collect()
    assert [name for name, array in watched.items() if array() is not None] == []


def test_outputs_outlive_everything(floats, se_weights):
    x = floats(2, 6, 5)
    y = attentile.Engine(threads=1).plan(attentile.Layer("se", se_weights), x.shape).run(x)
    gc.collect()
    assert y.shape == x.shape and numpy.isfinite(y).all()


def test_layers_and_plans_are_released(engine, floats):
    weights = {"fc.0.weight": floats(512, 1024), "fc.2.weight": floats(1024, 512)} # 4 MiB, in a plan once more
    x = floats(1, 1024, 2)
    before = resident()
    for _ in range(50):
        engine.plan(attentile.Layer("se", weights), x.shape).run(x)
    gc.collect()
    assert resident() - before < 50 * MIB


def test_files_are_closed(tmp_path):
    (tmp_path / "short").write_bytes(b"1234")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        attentile.Layer.load(ROOT / "tests/golden/se/weights.safetensors")
        with pytest.raises(attentile.InvalidArgument):
            attentile.Layer.load(ROOT / "tests/golden/se/weights.safetensors", "sk")
        with pytest.raises(attentile.BadFormat):
            attentile.Layer.load(tmp_path / "short")
    assert len(os.listdir("/proc/self/fd")) == before


def test_teams_stop(se, floats):
    x, before = floats(64, 6, 500), len(os.listdir("/proc/self/task"))
    for close in (True, False):
        engine = attentile.Engine(threads=3)
        engine.plan(se, x.shape).run(x)
        assert len(os.listdir("/proc/self/task")) > before
        if close:
            engine.close()
        del engine
        gc.collect()
        for _ in range(100): # a thread that has been joined may be listed for a moment
            if len(os.listdir("/proc/self/task")) <= before:
                break
            time.sleep(0.01)
        assert len(os.listdir("/proc/self/task")) <= before
