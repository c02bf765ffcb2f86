# SPDX-License-Identifier: Apache-2.0
"""Masks and maps: what runs of plans and the attention call have in common."""
from __future__ import annotations

import operator
from typing import Any, Sequence, Union

import numpy.typing

from . import _abi
from ._arrays import ArrayLike, FloatArray, as_floats, as_mask, as_rows, check_shape, empty
from ._errors import InvalidArgument

# map=True: a new array; an array: written there; None or False: not wanted.
MapLike = Union[ArrayLike, bool, None]
RowsLike = Union[Sequence[int], ArrayLike, None]
Options = Union[_abi.RunOptions, _abi.AttentionArgs]


def as_size(value: int, name: str, bits: int = 64) -> int:
    """A whole number that the C type holds: ctypes would drop the bits above."""
    size = operator.index(value)
    if size.bit_length() >= bits:
        raise InvalidArgument(f"{name}: out of range (expected a number of {bits} bits, got {size})")
    return size


def set_mask(options: Options, name: str, value: ArrayLike) -> numpy.typing.NDArray[Any]:
    """Sets the mask or the additive mask. Returns the array to keep."""
    array = as_mask(value, name, additive=name == "additive")
    setattr(options, name, array.ctypes.data)
    setattr(options, name + "_rank", array.ndim)
    getattr(options, name + "_shape")[:array.ndim] = array.shape
    return array


def set_map(options: Options, shape: Sequence[int], map: MapLike, rows: RowsLike
            ) -> tuple[Any, FloatArray | None, numpy.typing.NDArray[Any] | None]:
    """Sets the rows of a map whose whole shape is given. Returns what the caller gets as the map, None = not wanted; the
    array behind it; and the rows to keep."""
    if map is None and rows is not None:
        map = True
    if map is None or map is False:
        if rows is not None:
            raise InvalidArgument("map_rows: given without a map")
        return None, None, None
    chosen = None if rows is None else as_rows(rows)
    if chosen is not None:
        options.map_rows, options.map_row_count = chosen.ctypes.data, chosen.size
        shape = (*shape[:-2], chosen.size, shape[-1])
    if map is True:
        map = empty(shape)
    array = as_floats(map, "map", writable=True)
    check_shape(array, shape, "map")
    return map, array, chosen
