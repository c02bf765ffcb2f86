# SPDX-License-Identifier: Apache-2.0
"""Attention without a layer around it."""
from __future__ import annotations

import ctypes
import math
from typing import Any, Sequence

from . import _abi, _library
from ._arrays import ArrayLike, FloatArray, as_floats, check_shape, empty, shape_text
from ._engine import Engine, default_engine
from ._errors import InvalidArgument
from ._options import MapLike, RowsLike, set_map, set_mask

# Where batch, head, position and feature stand in a tensor of each layout.
LAYOUTS = {"head-major": (0, 1, 2, 3), "token-major": (0, 2, 1, 3), "channel-major": (0, 1, 3, 2)}


def _strides(array: FloatArray, axes: Sequence[int], name: str) -> _abi.AttentionStrides:
    steps = []
    for axis in axes:
        size, step = array.shape[axis], array.strides[axis]
        if size != 1 and (step < 0 or step % array.itemsize):
            raise InvalidArgument(f"{name}: strides that no run can take (expected whole elements, 0 or more, got "
                                  f"{shape_text(array.strides)} bytes)")
        steps.append(1 if size == 1 else step // array.itemsize)
    return _abi.AttentionStrides(*steps)


def attention(query: ArrayLike, key: ArrayLike, value: ArrayLike, *, scale: float | None = None,
              mask: ArrayLike | None = None, additive: ArrayLike | None = None, causal: bool = False,
              layout: str = "head-major", mask_zero: bool = False, out: ArrayLike | None = None, map: MapLike = None,
              map_rows: RowsLike = None, engine: Engine | None = None) -> Any:
    """softmax over keys of (scale * query . key + masks) * value, for each head of each sample.

    Returns the output, of query's layout: `out` itself where it is given, else a new array; with a map wanted,
    (output, map). The matrix of queries x keys is never held. Nothing is copied: tensors may have any strides from 0 on
    (the output's elements apart), of which a feature or a position stride of 1 is fast. float32.

    query, key, value
        In head-major layout [B, heads, queries, d], [B, heads, keys, d], [B, heads, keys, c]: as PyTorch's
        scaled_dot_product_attention takes them. The output is [B, heads, queries, c].
    layout
        "head-major"; "token-major": [B, positions, heads, dim], what a linear layer leaves; "channel-major":
        [B, heads, dim, positions], what a 1x1 convolution leaves. Of all four.
    scale
        Of the logits; None = 1/sqrt(d).
    mask, additive
        Of any shape that broadcasts to [B, heads, queries, keys]: bool or uint8, 0 = masked, weight exactly 0; or float32,
        added to the scaled logits.
    causal
        Key j is visible to query i when j <= i, joined with the masks.
    mask_zero
        A row that sees no key is 0; else the mean of all values.
    map, map_rows
        As in Plan.run: the map is [B, heads, queries or rows, keys].
    engine
        None = default_engine().

    Raises InvalidArgument, OutOfMemory; outputs are then untouched.
    """
    if layout not in LAYOUTS:
        raise InvalidArgument(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    axes = LAYOUTS[layout]
    arrays = {name: as_floats(one, name) for name, one in (("query", query), ("key", key), ("value", value))}
    for name, array in arrays.items():
        if array.ndim != 4:
            raise InvalidArgument(f"{name}: expected 4 axes, got {shape_text(array.shape)}")
    batch, heads, queries, key_dim = (arrays["query"].shape[axis] for axis in axes)
    keys, value_dim = (arrays["value"].shape[axis] for axis in axes[2:])
    _check(arrays["key"], axes, (batch, heads, keys, key_dim), "key")
    _check(arrays["value"], axes, (batch, heads, keys, value_dim), "value")
    shape = [0] * 4
    for axis, size in zip(axes, (batch, heads, queries, value_dim)):
        shape[axis] = size
    out = empty(shape) if out is None else out
    arrays["output"] = as_floats(out, "out", writable=True)
    check_shape(arrays["output"], shape, "out")

    args = _library.defaults(_abi.AttentionArgs)
    args.batch, args.heads, args.queries, args.keys = batch, heads, queries, keys
    args.key_dim, args.value_dim = key_dim, value_dim
    for name, array in arrays.items():
        setattr(args, name, array.ctypes.data)
        setattr(args, name + "_strides", _strides(array, axes, name))
    args.scale = math.nan if scale is None else scale
    args.causal, args.mask_zero = causal, mask_zero
    masks = [set_mask(args, name, one) for name, one in (("mask", mask), ("additive", additive)) if one is not None]
    map, weights, rows = set_map(args, (batch, heads, queries, keys), map, map_rows)
    if weights is not None:
        if not weights.flags.c_contiguous:
            raise InvalidArgument("map: expected a C-contiguous array")
        args.map = weights.ctypes.data
    _library.call(_library.core.atl_attention, (engine or default_engine()).handle, ctypes.byref(args))
    del masks, rows  # alive until here
    return out if map is None else (out, map)


def _check(array: FloatArray, axes: Sequence[int], sizes: Sequence[int], name: str) -> None:
    expected = [0] * 4
    for axis, size in zip(axes, sizes):
        expected[axis] = size
    check_shape(array, expected, name)
