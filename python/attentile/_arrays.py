# SPDX-License-Identifier: Apache-2.0
"""Whatever holds numbers, as a NumPy array over the same memory; and its strides as the library counts them."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, Sequence, Union

import numpy
import numpy.typing

from ._dlpack import from_dlpack
from ._errors import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import Buffer


class SupportsDLPack(Protocol):
    """A tensor of another framework, such as torch.Tensor."""

    def __dlpack__(self, **options: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


# What every function here takes: never copied.
ArrayLike = Union["numpy.typing.NDArray[Any]", "Buffer", SupportsDLPack]
FloatArray = numpy.typing.NDArray[numpy.float32]

ALIGNMENT = 64  # of what is allocated here: a cache line, and a vector of AVX-512
FLOAT = numpy.dtype(numpy.float32)


def as_array(value: ArrayLike, name: str) -> numpy.typing.NDArray[Any]:
    """An array over the memory of `value`: itself, a buffer, or a tensor by DLPack."""
    if isinstance(value, numpy.ndarray):
        return value
    if hasattr(type(value), "__dlpack__"):
        return from_dlpack(value, name)
    try:
        return numpy.asarray(memoryview(value))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected a NumPy array, a buffer or a DLPack tensor, got {type(value).__name__}"
                        ) from None


def dtype_text(array: numpy.typing.NDArray[Any]) -> str:
    """The dtype's name as its owner knows it."""
    return "bfloat16" if array.dtype.name == "void16" else array.dtype.str if not array.dtype.isnative else array.dtype.name


def as_floats(value: ArrayLike, name: str, writable: bool = False) -> FloatArray:
    """The same, of float32, and writable if it is an output."""
    array = as_array(value, name)
    if array.dtype != FLOAT:
        raise InvalidArgument(f"{name}: wrong dtype (expected float32, got {dtype_text(array)})")
    if writable and not array.flags.writeable:
        raise InvalidArgument(f"{name}: expected a writable array, got a read-only one")
    return array


def empty(shape: Sequence[int]) -> FloatArray:
    """A float32 array whose memory begins on a cache line."""
    count = math.prod(shape)
    memory = numpy.empty(count * FLOAT.itemsize + ALIGNMENT, numpy.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    return memory[offset:offset + count * FLOAT.itemsize].view(FLOAT).reshape(shape)


def shape_text(shape: Sequence[object]) -> str:
    """As messages of the library write it: [4, 64, 56, 56]."""
    return "[" + ", ".join(map(str, shape)) + "]"


def check_shape(array: numpy.typing.NDArray[Any], expected: Sequence[int], name: str,
                words: Sequence[object] | None = None) -> None:
    """`words` is what the message says instead of the expected shape."""
    if array.shape != tuple(expected):
        raise InvalidArgument(f"{name}: wrong shape (expected {shape_text(words or expected)}, "
                              f"got {shape_text(array.shape)})")


def _stride_error(array: numpy.typing.NDArray[Any], name: str) -> InvalidArgument:
    steps = [step / array.itemsize for step in array.strides]
    return InvalidArgument(f"{name}: strides that no run can take (expected a C-contiguous array, or one with gaps "
                           f"between samples only, got strides of {shape_text([f'{s:g}' for s in steps])} elements for "
                           f"shape {shape_text(array.shape)}; numpy.ascontiguousarray makes a copy)")


def sample_stride(array: numpy.typing.NDArray[Any], batch_axis: int, name: str) -> int:
    """Elements from a sample to the next, 0 = dense, with the batch at axis 0 or, inside the channels, at axis 1."""
    if array.flags.c_contiguous:
        return 0
    dense = array.itemsize
    for size, step in zip(array.shape[:batch_axis:-1], array.strides[:batch_axis:-1]):
        if size != 1 and step != dense:
            raise _stride_error(array, name)
        dense *= size
    batch, step = array.shape[batch_axis], array.strides[batch_axis]
    if batch_axis == 1 and batch == 1:
        step = array.strides[0]  # of channels
    elif batch_axis == 1 and array.shape[0] != 1 and array.strides[0] != batch * step:
        raise _stride_error(array, name)
    elif batch == 1:
        return 0
    if step < dense or step % array.itemsize:
        raise _stride_error(array, name)
    return step // array.itemsize


def as_mask(value: ArrayLike, name: str, additive: bool) -> numpy.typing.NDArray[Any]:
    """A dense mask of at most 4 axes. Axes that were broadcast without a copy get back their size of 1."""
    array = as_array(value, name)
    dtypes = ("float32",) if additive else ("bool", "uint8")
    if array.dtype.name not in dtypes or not array.dtype.isnative:
        raise InvalidArgument(f"{name}: wrong dtype (expected {' or '.join(dtypes)}, got {dtype_text(array)})")
    if array.ndim > 4:
        raise InvalidArgument(f"{name}: wrong shape (expected at most 4 axes, got {shape_text(array.shape)})")
    array = array[(..., *(slice(0, 1) if step == 0 else slice(None) for step in array.strides))]
    if not array.flags.c_contiguous:
        raise _stride_error(array, name)
    return array


def as_rows(value: Sequence[int] | ArrayLike) -> numpy.typing.NDArray[numpy.int64]:
    """Query positions, as the library reads them."""
    listed = isinstance(value, (list, tuple, range))
    rows = numpy.asarray(value) if listed else as_array(value, "map_rows")  # type: ignore[arg-type]
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise InvalidArgument(f"map_rows: expected integers along one axis, got {rows.dtype} {shape_text(rows.shape)}")
    return numpy.ascontiguousarray(rows, numpy.int64)
