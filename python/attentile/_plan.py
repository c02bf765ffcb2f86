# SPDX-License-Identifier: Apache-2.0
"""The plan, and runs of it."""
from __future__ import annotations

import ctypes
import dataclasses
from typing import Any, Protocol, Sequence, cast

import numpy.typing

from . import _abi, _library
from ._arrays import ArrayLike, FloatArray, as_floats, check_shape, empty, sample_stride
from ._engine import Engine
from ._errors import InvalidArgument
from ._layer import Layer
from ._options import MapLike, RowsLike, as_size, set_map, set_mask


@dataclasses.dataclass(frozen=True)
class PlanInfo:
    """Shapes of a sample, the layer's own lower bound for one, and the workspace."""

    shape: tuple[int, ...]  #: of a sample of x
    output_shape: tuple[int, ...]  #: of a sample of y
    map_shape: tuple[int, ...]  #: of a sample's whole map; () = the layer has none
    flops: float  #: multiplications and additions
    exps: float  #: exponentials
    bytes: float  #: of inputs and outputs
    workspace_per_sample: int  #: bytes
    workspace_samples: int  #: at most this many samples are under way at once
    workspace_fixed: int  #: bytes for the team, whatever the batch
    heads: int  #: of kinds that take a key, else 0
    key_length: int  #: likewise
    in_place: bool  #: y may be x


def _read_info(handle: ctypes.c_void_p) -> PlanInfo:
    info = _abi.PlanInfo(size=ctypes.sizeof(_abi.PlanInfo))
    _library.call(_library.core.atl_plan_get_info, handle, ctypes.byref(info))
    values = _library.values(info, dataclasses.fields(PlanInfo))
    for name, rank in (("shape", info.rank), ("output_shape", info.output_rank), ("map_shape", info.map_rank)):
        values[name] = tuple(values[name][:rank])
    return PlanInfo(**{**values, "in_place": bool(info.in_place)})


def _address(array: numpy.typing.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Bound(Protocol):
    """A run with its arrays bound: a call computes and returns the outputs, and converts nothing.

    The arrays are kept alive, and every call reads and writes them anew. Calls of one object from several threads at once
    would write the same outputs; bind one for each thread.
    """

    #: The outputs: `out` and `map` (None = not wanted), and what a call returns: out, or (out, map) with a map.
    out: Any
    map: Any
    result: Any

    def __call__(self) -> Any:
        ...


def _bind(arguments: tuple[object, ...], error: _abi.Error, keep: tuple[object, ...], out: Any, map: Any) -> Bound:
    """atl_run with these arguments, the last of them the error. A function, as a call of an object with __call__ costs more."""
    run, result = _library.run, out if map is None else (out, map)

    def bound() -> Any:
        if run(*arguments):
            _library.raise_error(error)
        return result

    vars(bound).update(out=out, map=map, result=result, _keep=keep)
    return cast(Bound, bound)


class Plan:
    """A layer prepared for one shape on one engine. Immutable; any number of threads may run it at once.

    shape
        Of x, batch included: [B, C, ...], or [C, B, ...] of a layer with batch_first=False. The batch reserves workspace,
        so that runs up to it allocate nothing; runs take any batch. 0 reserves nothing.
    key_length
        Of kinds that take a key: positions of key and value; None = those of x.

    Raises InvalidArgument (the shape does not fit the layer), OutOfMemory.
    """

    def __init__(self, engine: Engine, layer: Layer, shape: Sequence[int], *, key_length: int | None = None) -> None:
        sizes, axis = [as_size(size, "shape") for size in shape], layer.batch_axis
        if not 1 < len(sizes) <= _abi.MAX_RANK + 1:
            raise InvalidArgument(f"shape: expected {self._layout(axis)} with at most {_abi.MAX_RANK + 1} axes, "
                                  f"got {sizes}")
        options = _library.defaults(_abi.PlanOptions)
        options.reserve_batch = sizes.pop(axis)
        options.key_length = as_size(key_length or 0, "key_length")
        self._handle, _ = _library.create(
            self, _library.core.atl_plan_create, _library.core.atl_plan_release, layer.handle, engine.handle, len(sizes),
            (ctypes.c_int64 * len(sizes))(*sizes), ctypes.byref(options))
        self._engine, self._layer = engine, layer
        self._info = _read_info(self._handle)

    @staticmethod
    def _layout(batch_axis: int) -> str:
        return "[C, batch, ...]" if batch_axis else "[batch, C, ...]"

    @property
    def handle(self) -> ctypes.c_void_p:
        """The atl_plan, for other bindings."""
        return self._handle

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def layer(self) -> Layer:
        return self._layer

    @property
    def info(self) -> PlanInfo:
        """Shapes, lower bound and workspace."""
        return self._info

    def workspace_size(self, batch: int) -> int:
        """Bytes of workspace that a run of `batch` samples needs; -1 when that cannot be represented."""
        size: int = _library.core.atl_plan_workspace_size(self._handle, batch)
        return size

    def describe(self) -> str:
        """In words and numbers, what the plan chose (stages, kernels, block sizes, splits) and the lower bound."""
        length = _library.core.atl_plan_describe(self._handle, None, 0)
        text = ctypes.create_string_buffer(length + 1)
        _library.core.atl_plan_describe(self._handle, text, length + 1)
        return text.value.decode("utf-8", "replace")

    def run(self, x: ArrayLike, out: ArrayLike | None = None, *, key: ArrayLike | None = None,
            value: ArrayLike | None = None, mask: ArrayLike | None = None, additive: ArrayLike | None = None,
            map: MapLike = None, map_rows: RowsLike = None) -> Any:
        """Computes the layer over x, of any batch, and returns y: `out` itself where it is given, else a new array.

        With a map wanted, (y, map). Nothing is copied, and the interpreter's lock is not held. Arrays are NumPy's, or
        anything else with the buffer protocol or __dlpack__, such as tensors of PyTorch; float32, C order, with gaps between
        samples at most.

        out
            [B, output shape...], or [C, B, ...] as x. May be x where info.in_place; any other overlap is an error.
        key, value
            Of kinds that take them: [B, key_length, D]; None = x.
        mask, additive
            Likewise. Of any shape that broadcasts to [B, heads, queries, keys]: bool or uint8, 0 = masked; or float32, added
            to the scaled logits.
        map
            True for a new array, or where to write the attention map [B, map shape...].
        map_rows
            The query positions whose rows the map has, in this order: the map is then [B, ..., rows, keys]. Given without
            `map`, it stands for map=True as well.

        Raises InvalidArgument, OutOfMemory; outputs are then untouched.
        """
        return self.bind(x, out, key=key, value=value, mask=mask, additive=additive, map=map, map_rows=map_rows)()

    def bind(self, x: ArrayLike, out: ArrayLike | None = None, *, key: ArrayLike | None = None,
             value: ArrayLike | None = None, mask: ArrayLike | None = None, additive: ArrayLike | None = None,
             map: MapLike = None, map_rows: RowsLike = None) -> Bound:
        """As `run`, but returns an object whose calls run over the same arrays again and again, at the cost of the C call."""
        options, axis, info = _library.defaults(_abi.RunOptions), self._layer.batch_axis, self._info
        source = as_floats(x, "x")
        batch = self._check_batch(source)
        options.x_stride = sample_stride(source, axis, "x")
        if out is None:
            out = empty(self._tensor_shape(info.output_shape, batch))
        target = as_floats(out, "out", writable=True)
        check_shape(target, self._tensor_shape(info.output_shape, batch), "out")
        options.y_stride = sample_stride(target, axis, "out")
        map, weights, rows = self._bind_map(options, batch, map, map_rows)
        inputs = self._bind_inputs(options, batch, key, value, mask, additive)
        error = _abi.Error()
        arguments = (self._handle, ctypes.c_int64(batch), _address(source), _address(target),
                     None if weights is None else _address(weights), ctypes.byref(options), ctypes.byref(error))
        return _bind(arguments, error, (self, source, target, weights, rows, inputs), out, map)

    def _tensor_shape(self, sample: Sequence[int], batch: object) -> Any:
        """The shape of a batch of samples of x or y."""
        axis = self._layer.batch_axis
        return (*sample[:axis], batch, *sample[axis:])

    def _check_batch(self, x: FloatArray) -> int:
        shape, axis = self._info.shape, self._layer.batch_axis
        batch = x.shape[axis] if x.ndim == len(shape) + 1 else 1
        check_shape(x, self._tensor_shape(shape, batch), "x", self._tensor_shape(shape, "batch"))
        return batch

    def _bind_map(self, options: _abi.RunOptions, batch: int, map: MapLike, map_rows: RowsLike) -> tuple[Any, ...]:
        """What the caller gets as the map, the array behind it, the rows; None each = not wanted."""
        if not self._info.map_shape and (map is not None and map is not False or map_rows is not None):
            raise InvalidArgument(f"map: {self._layer.kind} has none")
        map, array, rows = set_map(options, (batch, *self._info.map_shape), map, map_rows)
        if array is not None:
            options.map_stride = sample_stride(array, 0, "map")
        return map, array, rows

    def _bind_inputs(self, options: _abi.RunOptions, batch: int, key: ArrayLike | None, value: ArrayLike | None,
                     mask: ArrayLike | None, additive: ArrayLike | None) -> list[numpy.typing.NDArray[Any]]:
        """Sets what is given, and returns the arrays to keep."""
        keep: list[numpy.typing.NDArray[Any]] = []
        given = {"key": key, "value": value, "mask": mask, "additive": additive}
        for name, one in given.items():
            if one is None:
                continue
            if not self._layer.takes_key:
                raise InvalidArgument(f"{name}: {self._layer.kind} takes none")
            if name in ("key", "value"):
                array = as_floats(one, name)
                check_shape(array, (batch, self._info.key_length, self._info.shape[1]), name)
                setattr(options, name, array.ctypes.data)
                setattr(options, name + "_stride", sample_stride(array, 0, name))
            else:
                array = set_mask(options, name, one)
            keep.append(array)
        return keep

    def __repr__(self) -> str:
        return f"<attentile.Plan: {self._layer.kind}, samples of {list(self._info.shape)}>"
