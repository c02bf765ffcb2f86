# SPDX-License-Identifier: Apache-2.0
"""What may be handed over: NumPy's arrays, buffers, DLPack; what may not, and what is said then."""
import array
import ctypes
import gc

import numpy
import pytest

import attentile
from exporter import Exporter


@pytest.fixture
def plan(engine, se):
    return engine.plan(se, (2, 6, 5))


@pytest.fixture
def x(floats):
    return floats(2, 6, 5)


def test_buffers(plan, x):
    y = plan.run(x)
    out = (ctypes.c_float * 5 * 6 * 2)()
    assert plan.run(memoryview(x), out) is out
    assert numpy.array_equal(numpy.asarray(out), y)
    flat = array.array("f", x.ravel())
    assert numpy.array_equal(plan.run(memoryview(flat).cast("B").cast("f", (2, 6, 5))), y)


@pytest.mark.parametrize("versioned", [False, True])
def test_dlpack(plan, x, versioned):
    y, exporter, out = plan.run(x), Exporter(x, versioned=versioned), Exporter(numpy.zeros_like(x), versioned=versioned)
    assert plan.run(exporter, out) is out
    assert numpy.array_equal(out.array, y)
    gc.collect()
    assert exporter.held == out.held == 0


def test_dlpack_is_held_as_long_as_it_is_bound(plan, x):
    exporter = Exporter(x)
    call = plan.bind(exporter)
    assert exporter.held == 1
    before = call().copy()
    x *= 2 # the same memory: nothing was copied
    assert not numpy.array_equal(call(), before)
    del call
    gc.collect()
    assert exporter.held == 0


def test_dlpack_strides(plan, x):
    wide = numpy.zeros((2, 8, 5), numpy.float32)
    wide[:, :6] = x
    assert numpy.array_equal(plan.run(Exporter(wide[:, :6])), plan.run(x))


@pytest.mark.parametrize("wrong, text", [
    (dict(device=2), r"x: expected a tensor in the memory of the CPU, got one on device \(2, 0\)"),
    (dict(code=0), r"x: wrong dtype \(expected float32, got int32\)"),
    (dict(code=99), r"x: no such dtype in NumPy \(DLPack code 99, 32 bits, 1 lanes\)"),
    (dict(fault=BufferError("needs a gradient")), "x: the tensor cannot be exported: needs a gradient"),
])
def test_dlpack_errors(plan, x, wrong, text):
    with pytest.raises(attentile.InvalidArgument, match=text):
        plan.run(Exporter(x, **wrong))


def test_read_only_outputs(plan, x):
    frozen = x.copy()
    frozen.setflags(write=False)
    for out in (frozen, bytes(x.nbytes), Exporter(x.copy(), versioned=True, read_only=True)):
        with pytest.raises(attentile.InvalidArgument, match="out: "):
            plan.run(x, out)
    assert numpy.array_equal(plan.run(frozen), plan.run(x)) # as an input it is welcome


@pytest.mark.parametrize("change, text", [
    (lambda x: x.astype(numpy.float64), r"x: wrong dtype \(expected float32, got float64\)"),
    (lambda x: x.astype(x.dtype.newbyteorder()), r"x: wrong dtype \(expected float32, got >f4\)"),
    (lambda x: x[0], r"x: wrong shape \(expected \[batch, 6, 5\], got \[6, 5\]\)"),
    (lambda x: x[:, :4], r"x: wrong shape \(expected \[batch, 6, 5\], got \[2, 4, 5\]\)"),
    (lambda x: x[::-1], r"x: strides that no run can take .*got strides of \[-30, 5, 1\] elements"),
    (lambda x: numpy.broadcast_to(x[:1], x.shape), r"x: strides that no run can take .*\[0, 5, 1\]"),
    (lambda x: numpy.asfortranarray(x), r"x: strides that no run can take .*numpy.ascontiguousarray makes a copy"),
    (lambda x: numpy.frombuffer(bytes(x.nbytes + 1), numpy.float32, x.size, 1).reshape(x.shape), "not aligned to a float"),
    (lambda x: x[:0], r"batch: expected 1 or more, got 0"),
])
def test_wrong_arrays(plan, x, change, text):
    with pytest.raises(attentile.InvalidArgument, match=text):
        plan.run(change(x))


@pytest.mark.parametrize("nothing", [[1.0], 3, None, "x"])
def test_no_arrays(plan, nothing):
    with pytest.raises(TypeError, match="x: expected a NumPy array, a buffer or a DLPack tensor, got "):
        plan.run(nothing)


def test_gaps_between_samples(plan, x):
    wide, out = numpy.zeros((2, 7, 5), numpy.float32), numpy.full((2, 9, 5), 7, numpy.float32)
    wide[:, :6] = x
    assert numpy.array_equal(plan.run(wide[:, :6], out[:, :6]), plan.run(x))
    assert (out[:, 6:] == 7).all()


def test_single_samples_may_have_any_batch_stride(plan, x):
    assert numpy.array_equal(plan.run(x[::-1][1:]), plan.run(x[:1]))


def test_batch_inside(engine, se, se_weights, floats):
    """batch_first=False: the batch at axis 1, by strides."""
    inside = attentile.Layer("se", se_weights, batch_first=False)
    assert (inside.batch_axis, se.batch_axis) == (1, 0)
    x = floats(6, 3, 5)
    plan = engine.plan(inside, x.shape)
    want = engine.plan(se, (3, 6, 5)).run(numpy.ascontiguousarray(x.transpose(1, 0, 2))).transpose(1, 0, 2)
    assert numpy.array_equal(plan.run(x), want)
    wide = numpy.zeros((6, 3, 9), numpy.float32) # gaps behind the positions of a sample
    wide[..., :5] = x
    assert numpy.array_equal(plan.run(wide[..., :5]), want)
    assert numpy.array_equal(plan.run(x[:, :1]), want[:, :1]) # and between the channels of a single one
    with pytest.raises(attentile.InvalidArgument, match="x: strides"):
        plan.run(x[:, :2])
    with pytest.raises(attentile.InvalidArgument, match=r"x: wrong shape \(expected \[6, batch, 5\], got \[3, 6, 5\]\)"):
        plan.run(floats(3, 6, 5))


def test_outputs_are_aligned_and_offer_dlpack(plan, x):
    y = plan.run(x)
    assert y.ctypes.data % 64 == 0
    if hasattr(y, "__dlpack__"):
        assert numpy.array_equal(numpy.from_dlpack(y), y)


def test_torch(plan, x, engine, se_weights):
    torch = pytest.importorskip("torch")
    want, out = plan.run(x), torch.zeros(2, 6, 5)
    assert plan.run(torch.from_numpy(x), out) is out
    assert numpy.array_equal(out.numpy(), want)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        state = {name: torch.from_numpy(one).to(dtype) for name, one in se_weights.items()}
        rounded = {name: one.float().numpy() for name, one in state.items()}
        assert numpy.array_equal(engine.plan(attentile.Layer("auto", state), x.shape).run(x),
                                 engine.plan(attentile.Layer("auto", rounded), x.shape).run(x))
    for wrong, text in ((torch.zeros(2, 6, 5, requires_grad=True), "x: the tensor cannot be exported: .*detach"),
                        (torch.zeros(2, 6, 5, device="meta"), "x: the tensor cannot be exported"),
                        (torch.zeros(2, 6, 5).bfloat16(), r"x: wrong dtype \(expected float32, got bfloat16\)")):
        with pytest.raises(attentile.InvalidArgument, match=text):
            plan.run(wrong)
