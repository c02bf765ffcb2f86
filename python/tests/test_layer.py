# SPDX-License-Identifier: Apache-2.0
"""Layers from arrays: dtypes, names, parameters."""
import math

import numpy
import pytest

import attentile
from conftest import ROOT
from exporter import Exporter

GOLDEN = ROOT / "tests/golden"


def run(engine, layer, x):
    return engine.plan(layer, x.shape).run(x)


def test_kinds():
    assert attentile.kinds() == ("se", "cbam-channel", "cbam-spatial", "cbam-res", "sk", "self-attention-spatial",
                                 "self-attention-channel", "non-local", "multi-head")


@pytest.mark.parametrize("dtype", [numpy.float16, numpy.float64])
def test_dtypes_of_weights(engine, se_weights, floats, dtype):
    x, weights = floats(2, 6, 5), {name: one.astype(dtype) for name, one in se_weights.items()}
    rounded = {name: one.astype(numpy.float32) for name, one in weights.items()}
    assert numpy.array_equal(run(engine, attentile.Layer("se", weights), x),
                             run(engine, attentile.Layer("se", rounded), x))


def test_bfloat16(engine, se_weights, floats):
    x, bits = floats(2, 6, 5), {name: one.view(numpy.uint32) >> 16 for name, one in se_weights.items()}
    weights = {name: Exporter(one.astype(numpy.uint16), code=4) for name, one in bits.items()}
    rounded = {name: (one << 16).astype(numpy.uint32).view(numpy.float32) for name, one in bits.items()}
    assert numpy.array_equal(run(engine, attentile.Layer("se", weights), x),
                             run(engine, attentile.Layer("se", rounded), x))


def test_weights_are_copied_whatever_their_strides(engine, se_weights, floats):
    x, odd = floats(2, 6, 5), {name: numpy.asfortranarray(one) for name, one in se_weights.items()}
    layer = attentile.Layer("se", odd)
    want = run(engine, attentile.Layer("se", se_weights), x)
    for one in odd.values():
        one[:] = 0
    assert numpy.array_equal(run(engine, layer, x), want)


def test_prefix_and_rename(engine, se_weights, floats):
    x, want = floats(2, 6, 5), None
    want = run(engine, attentile.Layer("se", se_weights), x)
    weights = {"a.down": se_weights["fc.0.weight"], "a.fc.2.weight": se_weights["fc.2.weight"],
               "fc.0.weight": numpy.zeros((3, 3)), "a.n": numpy.array(7), "other": object()}
    layer = attentile.Layer("auto", weights, prefix="a.", rename={"down": "fc.0.weight"})
    assert numpy.array_equal(run(engine, layer, x), want)
    with pytest.raises(attentile.InvalidArgument, match=r"rename: no such tensor .*prefix 'a\.', got 'dwn'"):
        attentile.Layer("auto", weights, prefix="a.", rename={"dwn": "fc.0.weight"})
    with pytest.raises(attentile.InvalidArgument, match="rename: no such tensor"):
        attentile.Layer.load(GOLDEN / "se/weights.safetensors", rename={"dwn": "fc.0.weight"})


@pytest.mark.parametrize("given, text", [
    (True, "true"), (numpy.bool_(False), "false"), (2, "2"), (0.1, "0.1"), (numpy.float32(0.5), "0.5"),
    (numpy.int64(3), "3"), ("silu", "silu"), (-1e9, "-1e9"), (-math.inf, "-inf"), (1e-5, "1e-05")])
def test_parameters_as_text(given, text):
    from attentile._layer import _param_text
    assert _param_text(given) == text


def test_parameters(engine, floats):
    square = {f"{name}.weight": floats(8, 8) for name in ("Wq", "Wk", "Wv", "fc")}
    x, hidden = floats(1, 3, 8), numpy.zeros((3, 3), bool)
    for fill, zero in ((-1e9, False), (-math.inf, True)):
        layer = attentile.Layer("multi-head", square, num_heads=2, mask_fill=fill)
        assert (engine.plan(layer, x.shape).run(x, mask=hidden) == 0).all() == zero


@pytest.mark.parametrize("kind, params, text", [
    ("sse", {}, r"layer 'sse': no such kind \(did you mean 'se'\?\)"),
    ("se", {"stride": 2}, "parameter stride: se has none of that name"),
    ("se", {"gate": "tanh"}, r"parameter gate: wrong value \(expected sigmoid or hard-sigmoid, got 'tanh'\)"),
    ("cbam-channel", {}, "sharedMLP.0.weight: missing"),
])
def test_errors(se_weights, kind, params, text):
    with pytest.raises(attentile.InvalidArgument, match=text):
        attentile.Layer(kind, se_weights, **params)


def test_contradicting_weights(se_weights, floats):
    text = r"fc\.2\.weight: contradicts fc\.0\.weight \(expected \[C=6, h=2\], got \[6, 3\]\)"
    with pytest.raises(attentile.InvalidArgument, match=text):
        attentile.Layer("se", {**se_weights, "fc.2.weight": floats(6, 3)})
    with pytest.raises(attentile.InvalidArgument, match=r"fc\.2\.weight: wrong dtype .*got I64"):
        attentile.Layer("se", {**se_weights, "fc.2.weight": numpy.ones((6, 2), numpy.int64)})
    with pytest.raises(attentile.InvalidArgument, match=r"fc\.2\.weight: wrong dtype .*got OTHER"):
        attentile.Layer("se", {**se_weights, "fc.2.weight": numpy.ones((6, 2), numpy.complex64)})


def test_files(tmp_path):
    layer = attentile.Layer.load(str(GOLDEN / "se-metadata/weights.safetensors"), None, "layer1.0.se.")
    assert layer.kind == "se" and repr(layer) == "<attentile.Layer: se>" and not layer.takes_key
    with pytest.raises(attentile.FileFailure, match="/none: cannot open") as caught:
        attentile.Layer.load(tmp_path / "none")
    assert isinstance(caught.value, OSError) and caught.value.status == attentile.Status.IO_ERROR
    (tmp_path / "short").write_bytes(b"1234")
    with pytest.raises(attentile.BadFormat, match="/short: ") as caught:
        attentile.Layer.load(tmp_path / "short")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(attentile.InvalidArgument, match="the kind of layer is unknown"):
        attentile.Layer.load(GOLDEN / "se/weights.safetensors", layer=None)


def test_batch_inside_from_metadata():
    assert attentile.Layer.load(GOLDEN / "se-batch-inside/weights.safetensors", batch_first=False).batch_axis == 1
    assert attentile.Layer.load(GOLDEN / "se/weights.safetensors").batch_axis == 0
