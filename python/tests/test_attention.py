# SPDX-License-Identifier: Apache-2.0
"""attentile.attention against the definition in float64."""
import math

import numpy
import pytest

import attentile

LAYOUTS = {"head-major": (0, 1, 2, 3), "token-major": (0, 2, 1, 3), "channel-major": (0, 1, 3, 2)}


def reference(q, k, v, scale=None, mask=None, additive=None, causal=False):
    """Output and map, head-major."""
    q, k, v = (one.astype(numpy.float64) for one in (q, k, v))
    logits = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if additive is not None:
        logits = logits + additive
    if mask is not None:
        logits = numpy.where(mask, logits, -numpy.inf)
    if causal:
        logits = numpy.where(numpy.tri(*logits.shape[-2:], dtype=bool), logits, -numpy.inf)
    weights = numpy.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights @ v, weights


@pytest.fixture
def qkv(floats):
    return floats(2, 3, 7, 4), floats(2, 3, 9, 4), floats(2, 3, 9, 5)


def close(got, want):
    numpy.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(qkv, engine, layout):
    axes = LAYOUTS[layout]
    dense = [numpy.ascontiguousarray(one.transpose(axes)) for one in qkv]
    y = attentile.attention(*dense, layout=layout, engine=engine)
    close(y.transpose(numpy.argsort(axes)), reference(*qkv)[0])
    views = [one.transpose(axes) for one in qkv] # of any strides, without a copy
    assert numpy.array_equal(attentile.attention(*views, layout=layout, engine=engine), y)


def test_options(qkv, rng):
    mask = rng.random((7, 9)) < 0.6
    mask[:, 0] = True
    additive = rng.standard_normal((3, 1, 9)).astype(numpy.float32)
    for more in (dict(), dict(scale=0.1), dict(mask=mask), dict(causal=True), dict(additive=additive),
                 dict(mask=mask, additive=additive, causal=True)):
        want, weights = reference(*qkv, **more)
        close(attentile.attention(*qkv, **more), want)
        y, got = attentile.attention(*qkv, map=True, **more)
        close(y, want)
        close(got, weights)


def test_maps(qkv):
    _, whole = attentile.attention(*qkv, map=True)
    y, rows = attentile.attention(*qkv, map_rows=[3, 0])
    assert numpy.array_equal(rows, whole[:, :, [3, 0]])
    into = numpy.zeros_like(whole)
    assert attentile.attention(*qkv, map=into)[1] is into
    assert numpy.array_equal(into, whole)


def test_rows_without_a_key(qkv):
    hidden = numpy.zeros((1, 9), numpy.uint8)
    close(attentile.attention(*qkv, mask=hidden)[:, :, 0], qkv[2].mean(-2))
    assert (attentile.attention(*qkv, mask=hidden, mask_zero=True) == 0).all()


def test_out(qkv):
    out = numpy.zeros((2, 3, 7, 6), numpy.float32)[..., :5]
    assert attentile.attention(*qkv, out=out) is out
    assert numpy.array_equal(out, attentile.attention(*qkv))


def test_broadcast_keys(qkv):
    """One key for all heads: strides of 0."""
    q, k, v = qkv[0], numpy.broadcast_to(qkv[1][:, :1], qkv[1].shape), numpy.broadcast_to(qkv[2][:, :1], qkv[2].shape)
    close(attentile.attention(q, k, v), reference(q, k, v)[0])


@pytest.mark.parametrize("change, text", [
    (lambda q, k, v: dict(layout="nhwc"), "layout: expected one of head-major, token-major, channel-major, got 'nhwc'"),
    (lambda q, k, v: dict(query=q[0]), r"query: expected 4 axes, got \[3, 7, 4\]"),
    (lambda q, k, v: dict(key=k[..., :3]), r"key: wrong shape \(expected \[2, 3, 9, 4\], got \[2, 3, 9, 3\]\)"),
    (lambda q, k, v: dict(value=v[:1]), r"value: wrong shape \(expected \[2, 3, 9, 5\], got \[1, 3, 9, 5\]\)"),
    (lambda q, k, v: dict(query=q[::-1]), "query: strides that no run can take"),
    (lambda q, k, v: dict(value=v.astype(float)), r"value: wrong dtype \(expected float32, got float64\)"),
    (lambda q, k, v: dict(out=v), r"out: wrong shape \(expected \[2, 3, 7, 5\], got \[2, 3, 9, 5\]\)"),
    (lambda q, k, v: dict(out=numpy.broadcast_to(v[:1, :1, :1], (2, 3, 7, 5))), "out: expected a writable array"),
    (lambda q, k, v: dict(scale=math.inf), "scale: expected a finite number"),
    (lambda q, k, v: dict(mask=numpy.ones((7, 8), bool)), "mask_shape: axis 1 does not broadcast to the keys"),
    (lambda q, k, v: dict(map=numpy.zeros((2, 3, 7, 8), numpy.float32)), "map: wrong shape"),
    (lambda q, k, v: dict(map=numpy.zeros((2, 3, 7, 18), numpy.float32)[..., ::2]), "map: expected a C-contiguous array"),
])
def test_errors(qkv, change, text):
    q, k, v = qkv
    with pytest.raises(attentile.InvalidArgument, match=text):
        attentile.attention(**{"query": q, "key": k, "value": v, **change(q, k, v)})


def test_overlap(floats):
    q = floats(2, 3, 7, 4)
    with pytest.raises(attentile.InvalidArgument, match="output overlaps query"):
        attentile.attention(q, q, q, out=q)
