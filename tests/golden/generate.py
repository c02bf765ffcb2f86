#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden cases: one folder each with a checkpoint, inputs, and what PyTorch makes of them in float64.

generate.py [NAME]...      (all of them by default; needs PyTorch)

case.json holds the command's options and the tolerances |y - expected| <= atol + rtol |expected| (maps: map_atol, map_rtol).
rtol is the rounding of a result; atol what float32 arithmetic may do to this case beyond it, as tests/lib/rounding.py
carries it through the layer.
"""
import json
import math
import pathlib
import shutil
import sys
import zlib

import torch

folder = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(folder.parent))
sys.dont_write_bytecode = True

from lib import checkpoint, layers, rounding # noqa: E402

RTOL = 2 * rounding.U


def masks(rank, *shape):
    """Keys at random, of which each row keeps the first and hides the last."""
    mask = torch.rand(shape[-rank:]) < 0.6
    mask[..., 0], mask[..., -1] = True, False
    return mask


class Case:
    """A module, the size of its input, and how they are written down."""

    def __init__(self, name, module, size, dtype=torch.float32, spelled=None, prefix="", rename=(), metadata=False,
                 map_rows=None, mask=None, key=None, value=None, note=""):
        self.name, self.make, self.size, self.dtype, self.spelled = name, module, size, dtype, spelled
        self.prefix, self.rename, self.metadata, self.map_rows = prefix, rename, metadata, map_rows
        self.mask, self.key, self.value, self.note = mask, key, value, note


SE, CHANNEL, SPATIAL, RES, SK = layers.SE, layers.CBAMChannel, layers.CBAMSpatial, layers.CBAMRes, layers.SK
SAS, SAC, NL, HEADS = layers.SelfAttentionSpatial, layers.SelfAttentionChannel, layers.NonLocal, layers.MultiHead
IMAGE = (2, 4, 3) # a batch, height and width

CASES = [
    Case("se", lambda: SE(8, 3), IMAGE),
    Case("se-no-bias", lambda: SE(8, 2, bias=False), IMAGE),
    Case("se-silu", lambda: SE(6, 2, activation="silu"), IMAGE),
    Case("se-hard-sigmoid", lambda: SE(6, 2, gate="hard-sigmoid"), IMAGE),
    Case("se-alpha", lambda: SE(6, 2, activation="silu", gate="hard-sigmoid", alpha=0.2), IMAGE),
    Case("se-convolutions", lambda: SE(6, 2), IMAGE, spelled=checkpoint.as_conv),
    Case("se-batch-inside", lambda: SE(5, 2, swapped=True), (3, 4, 3)),
    Case("se-1d", lambda: SE(5, 2), (2, 19)),
    Case("se-3d", lambda: SE(5, 2), (2, 2, 3, 4)),
    Case("se-metadata", lambda: SE(6, 2, activation="silu", gate="hard-sigmoid", alpha=0.25), IMAGE, metadata=True,
         prefix="layer1.0.se.", note="layer and parameters stand in the checkpoint"),
    Case("se-rename", lambda: SE(6, 2), IMAGE, prefix="block.",
         rename=[("down.weight", "fc.0.weight"), ("down.bias", "fc.0.bias"), ("up.weight", "fc.2.weight")]),
    Case("se-f16", lambda: SE(6, 2), IMAGE, dtype=torch.float16),
    Case("cbam-channel", lambda: CHANNEL(8, 3), IMAGE),
    Case("cbam-channel-no-bias", lambda: CHANNEL(8, 2, bias=False), IMAGE, prefix="ca."),
    Case("cbam-channel-linear", lambda: CHANNEL(6, 2), IMAGE, spelled=checkpoint.as_linear),
    Case("cbam-channel-silu", lambda: CHANNEL(6, 2, activation="silu", gate="hard-sigmoid"), IMAGE),
    Case("cbam-channel-alpha", lambda: CHANNEL(6, 2, gate="hard-sigmoid", alpha=0.3, swapped=True), IMAGE),
    Case("cbam-channel-bf16", lambda: CHANNEL(6, 2), IMAGE, dtype=torch.bfloat16),
    Case("cbam-spatial-k3", lambda: SPATIAL(5, 3), IMAGE),
    Case("cbam-spatial-k5", lambda: SPATIAL(5, 5, bias=True), IMAGE),
    Case("cbam-spatial-k7", lambda: SPATIAL(3, 7), (2, 8, 7)),
    Case("cbam-spatial-batch-inside", lambda: SPATIAL(4, 3, bias=True, swapped=True), (3, 5, 4), dtype=torch.float64),
    Case("cbam-res", lambda: RES(3, 5, 2), (2, 7, 6)),
    Case("cbam-res-k5-s1", lambda: RES(2, 4, 2, kernel=5, gate_kernel=3, stride=1, bias=False), (2, 6, 5)),
    Case("cbam-res-k7-s3", lambda: RES(2, 4, 1, kernel=7, gate_kernel=5, stride=3), (1, 10, 8), dtype=torch.float16),
    Case("cbam-res-k1-eps", lambda: RES(3, 4, 2, kernel=1, gate_kernel=3, stride=2, eps=0.05), (2, 6, 7)),
    Case("cbam-res-batch-inside", lambda: RES(2, 5, 2, gate_kernel=3, swapped=True), (3, 6, 5), prefix="m."),
    Case("sk", lambda: SK(4, 2, 2, 6), (2, 5, 4)),
    Case("sk-one-branch", lambda: SK(4, 1, 1, 3), (2, 4, 3)),
    Case("sk-depthwise", lambda: SK(4, 3, 4, 3, bias=False), (1, 6, 7)),
    Case("sk-stride", lambda: SK(4, 2, 1, 3, stride=2), (2, 6, 5)),
    Case("sk-stride-3", lambda: SK(4, 2, 2, 3, stride=3, eps=0.05), (2, 7, 8)),
    Case("sk-four-branches", lambda: SK(2, 4, 2, 3), (1, 8, 9), dtype=torch.bfloat16),
    Case("sk-no-norm", lambda: SK(4, 2, 2, 3, norm=False), (2, 5, 4)),
    Case("sk-batch-inside", lambda: SK(4, 2, 2, 3, stride=2, swapped=True), (3, 5, 6), prefix="sk."),
    Case("spatial", lambda: SAS(6, 2), (2, 4, 3)),
    Case("spatial-scale", lambda: SAS(5, 3, bias=False, gamma=-1.3, scale=0.35), (2, 13)),
    Case("spatial-map-rows", lambda: SAS(4, 2), (2, 2, 3, 4), map_rows=[0, 17, 17, 5]),
    Case("spatial-linear", lambda: SAS(4, 2), (1, 4, 3), spelled=checkpoint.as_linear, dtype=torch.float64),
    Case("spatial-gamma-0", lambda: SAS(4, 1, gamma=0.0), (1, 4, 3)),
    Case("channel", lambda: SAC(5, 5), (2, 4, 3)),
    Case("channel-wider", lambda: SAC(3, 7), (2, 4, 3)),
    Case("channel-scale", lambda: SAC(6, 4, bias=False, gamma=-1.3, scale=0.35), (2, 13), dtype=torch.float16),
    Case("channel-map-rows", lambda: SAC(4, 5), (2, 2, 3, 2), map_rows=[4, 0], spelled=checkpoint.as_linear),
    Case("non-local-1d", lambda: NL(1, 6, 3), (2, 9)),
    Case("non-local-1d-sub", lambda: NL(1, 5, 4, sub=True, norm=False), (2, 9)),
    Case("non-local-2d", lambda: NL(2, 6, 3, norm=False, bias=False), (2, 4, 3), spelled=checkpoint.as_linear),
    Case("non-local-2d-sub", lambda: NL(2, 6, 3, sub=True), (2, 5, 7), map_rows=[34, 0]),
    Case("non-local-2d-sub-plain", lambda: NL(2, 4, 2, sub=True, norm=False), (2, 4, 6)),
    Case("non-local-3d", lambda: NL(3, 4, 2), (1, 3, 3, 2)),
    Case("non-local-3d-sub", lambda: NL(3, 4, 2, sub=True, eps=0.05), (2, 2, 3, 5)),
    Case("non-local-widths", lambda: NL(2, 5, 7, g_width=2, sub=True, scale=0.4), (2, 4, 5)),
    Case("non-local-f64", lambda: NL(2, 4, 1, g_width=3), (1, 4, 3), dtype=torch.float64, prefix="nl."),
    Case("heads", lambda: HEADS(8, heads=2), (2, 6)),
    Case("heads-one", lambda: HEADS(6, bias=False), (2, 5)),
    Case("heads-scale", lambda: HEADS(6, heads=3, scale=0.2), (2, 5), spelled=checkpoint.as_conv, map_rows=[4, 1]),
    Case("heads-key-value", lambda: HEADS(6, heads=2), (2, 4), key=7, value=7),
    Case("heads-key", lambda: HEADS(6, heads=2), (2, 4), key=4, note="the value is the input"),
    Case("heads-value", lambda: HEADS(6, heads=2), (2, 4), value=4, note="the key is the input"),
    Case("heads-mask-1", lambda: HEADS(6, heads=2), (2, 4), mask=lambda: masks(1, 2, 2, 4, 4).byte()),
    Case("heads-mask-2", lambda: HEADS(6, heads=2), (2, 4), mask=lambda: masks(2, 2, 2, 4, 4)),
    Case("heads-mask-3", lambda: HEADS(6, heads=2), (2, 4), key=6, value=6, mask=lambda: masks(3, 2, 2, 1, 6).byte()),
    Case("heads-mask-4", lambda: HEADS(6, heads=3), (2, 4), mask=lambda: masks(4, 2, 3, 4, 4)),
    Case("heads-mask-batch", lambda: HEADS(6, heads=2), (3, 4), mask=lambda: masks(4, 3, 1, 1, 4).byte()),
    Case("heads-masked-row", lambda: HEADS(6, heads=2), (2, 4), mask=lambda: masks(4, 2, 1, 4, 4).index_fill(
        2, torch.tensor([2]), False), note="query 2 sees nothing: the mean of all values"),
    Case("heads-masked-row-inf", lambda: HEADS(6, heads=2, mask_fill="-inf"), (2, 4), mask=lambda: masks(
        2, 4, 4).index_fill(0, torch.tensor([2]), False).byte(), note="query 2 sees nothing: 0"),
    Case("heads-causal", lambda: HEADS(6, heads=2, causal=True), (2, 5)),
    Case("heads-causal-longer", lambda: HEADS(6, heads=2, causal=True), (2, 3), key=5, value=5),
    Case("heads-causal-mask", lambda: HEADS(6, heads=2, causal=True, mask_fill="-1e9"), (2, 4), mask=lambda: torch.tensor(
        [0, 1, 1, 0], dtype=torch.uint8), note="query 0 sees nothing"),
]


def rounded_up(value):
    """To two digits."""
    if value == 0:
        return 0.0
    step = 10.0**(math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.3g}")


def tolerance(result):
    return RTOL, rounded_up((result.error - RTOL * result.value.abs()).clamp(min=0).max().item())


def checkpoint_of(case, module):
    """The tensors and the metadata as they are written."""
    state = checkpoint.rounded_state(module, case.dtype)
    state = case.spelled(state) if case.spelled else state
    other = {own: stored for stored, own in case.rename}
    state = {case.prefix + other.get(name, name): tensor for name, tensor in state.items()}
    metadata = {"attentile.layer": module.kind} if case.metadata else {}
    metadata.update({f"attentile.{name}": value for name, value in module.settings.items() if case.metadata})
    return state, metadata


def options_of(case, module):
    options = {"layer": None if case.metadata else module.kind, "set": {} if case.metadata else module.settings,
               "prefix": case.prefix}
    if case.rename:
        options["rename"] = [f"{stored}={own}" for stored, own in case.rename]
    if case.map_rows:
        options["map_rows"] = case.map_rows
    return options


def write(case):
    torch.manual_seed(zlib.crc32(case.name.encode()))
    path = folder / case.name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    module = case.make()
    state, metadata = checkpoint_of(case, module)
    checkpoint.write_safetensors(path / "weights.safetensors", state, metadata)
    x = torch.randn(*module.input_size(*case.size))
    extra = {name: torch.randn(x.shape[0], length, x.shape[2]) for name, length in (("key", case.key), ("value", case.value))
             if length}
    if case.mask:
        extra["mask"] = case.mask()
    for name, tensor in {"input": module.layout(x), **extra}.items():
        checkpoint.write_npy(path / f"{name}.npy", tensor)
    with torch.no_grad():
        y, weights = module(x.double(), **{n: t.double() if t.is_floating_point() else t for n, t in extra.items()})
    options = options_of(case, module)
    options["rtol"], options["atol"] = tolerance(y)
    checkpoint.write_npy(path / "expected.npy", module.layout(y.value))
    if weights is not None:
        weights = weights.map(lambda t: t[..., case.map_rows, :]) if case.map_rows else weights
        options["map_rtol"], options["map_atol"] = tolerance(weights)
        checkpoint.write_npy(path / "expected_map.npy", weights.value)
    options["note"] = case.note
    (path / "case.json").write_text(json.dumps(options, indent=1) + "\n")


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - {case.name for case in CASES}
    if unknown:
        sys.exit(f"generate.py: no such case: {', '.join(sorted(unknown))}")
    for case in CASES:
        if not wanted or case.name in wanted:
            write(case)


if __name__ == "__main__":
    main()
