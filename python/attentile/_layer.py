# SPDX-License-Identifier: Apache-2.0
"""The layer: a kind, its parameters and its weights."""
from __future__ import annotations

import ctypes
import math
import os
from typing import Any, Iterable, Mapping, Union

import numpy
import numpy.typing

from . import _abi, _library
from ._arrays import ArrayLike, as_array
from ._errors import InvalidArgument

# A parameter's value: what the command's --set takes, or the Python object that it stands for.
ParamValue = Union[bool, int, float, str]

# Numbers that are a word of a parameter (mask_fill), spelled as there.
_WORDS = {-1e9: "-1e9", -math.inf: "-inf"}


def kinds() -> tuple[str, ...]:
    """The kinds of layer that the library has; their formulas, weights and parameters stand in <attentile/layers.h>."""
    found: list[str] = []
    while (name := _library.core.atl_kind_name(len(found))) is not None:
        found.append(name.decode())
    return tuple(found)


def _param_text(value: ParamValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, numpy.bool_)):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, (int, numpy.integer)) else _WORDS.get(value) or repr(float(value))


def _is_false(text: str | None) -> bool:
    return text in ("false", "0")


def _tensor(name: str, value: ArrayLike) -> tuple[_abi.Tensor, numpy.typing.NDArray[Any]]:
    """What describes a weight, and the array to keep until the layer has its copy."""
    array = as_array(value, name)
    if array.ndim > _abi.MAX_RANK:
        raise InvalidArgument(f"{name}: expected at most {_abi.MAX_RANK} axes, got {array.ndim}")
    array = array if array.flags.c_contiguous else numpy.ascontiguousarray(array)
    dtype = _abi.DTYPES.get(array.dtype.name, _abi.OTHER) if array.dtype.isnative else _abi.OTHER
    tensor = _abi.Tensor(name.encode(), array.ctypes.data, dtype, array.ndim)
    tensor.shape[:array.ndim] = array.shape
    return tensor, array


def _check_renames(rename: Mapping[str, str], names: Iterable[str], prefix: str) -> None:
    """A misspelt name must not pass for an optional weight that is absent."""
    present = set(names)
    for old in rename:
        if prefix + old not in present:
            raise InvalidArgument(f"rename: no such tensor (expected the name of one after the prefix {prefix!r}, "
                                  f"got {old!r})")


class Layer:
    """A kind of layer with its weights. Immutable; the weights are copied.

    kind
        One of `kinds()`, or "auto": recognised from the names under the prefix.
    weights
        Names, as in a PyTorch state_dict, to arrays or tensors of float32, float16, bfloat16 or float64. Widths are
        inferred from the shapes; names that the kind lacks are ignored.
    prefix
        What the names begin with, its trailing dot included: "layer1.0.se.".
    rename
        Names as they stand in `weights` after the prefix, to the layer's own names for them.
    params
        Parameters of the kind, such as stride=2, num_heads=8, causal=True, batch_first=False.

    Raises InvalidArgument, which names the missing or contradicting weight, or the parameter; OutOfMemory.
    """

    def __init__(self, kind: str, weights: Mapping[str, ArrayLike], *, prefix: str = "",
                 rename: Mapping[str, str] | None = None, **params: ParamValue) -> None:
        chosen = {name: value for name, value in weights.items() if name.startswith(prefix)}
        _check_renames(rename or {}, chosen, prefix)
        made = [_tensor(name, value) for name, value in chosen.items()]
        desc, texts = self._describe(kind, prefix, rename, params)
        desc.tensors, desc.tensor_count = (_abi.Tensor * len(made))(*(tensor for tensor, _ in made)), len(made)
        self._create(_library.core.atl_layer_create, ctypes.byref(desc))
        self._batch_axis = 1 if _is_false(texts.get("batch_first")) else 0

    @classmethod
    def load(cls, path: str | os.PathLike[str], layer: str | None = "auto", prefix: str = "",
             rename: Mapping[str, str] | None = None, **params: ParamValue) -> Layer:
        """A layer from a safetensors file.

        `layer` is a kind, "auto", or None: what the file's metadata key "attentile.layer" says. Metadata keys
        "attentile.NAME" give defaults for the parameters. The rest is as in Layer().

        Raises FileFailure, BadFormat, InvalidArgument, OutOfMemory; the text begins with the path.
        """
        checkpoint = ctypes.c_void_p()
        _library.call(_library.io.atl_checkpoint_open, os.fsencode(path), ctypes.byref(checkpoint))
        try:
            tensors = _library.io.atl_checkpoint_tensors(checkpoint)
            count = _library.io.atl_checkpoint_count(checkpoint)
            if rename:
                _check_renames(rename, (tensors[i].name.decode() for i in range(count)), prefix)
            desc, texts = cls._describe(layer, prefix, rename, params)
            made = cls.__new__(cls)
            made._create(_library.io.atl_layer_load, checkpoint, ctypes.byref(desc))
            stored = _library.io.atl_checkpoint_metadata(checkpoint, b"attentile.batch_first")
            made._batch_axis = 1 if _is_false(texts.get("batch_first", stored.decode() if stored else None)) else 0
            return made
        finally:
            _library.io.atl_checkpoint_close(checkpoint)

    @staticmethod
    def _describe(kind: str | None, prefix: str, rename: Mapping[str, str] | None, params: Mapping[str, ParamValue]
                  ) -> tuple[_abi.LayerDesc, dict[str, str]]:
        """The description but for the tensors, and the parameters as text."""
        texts = {name: _param_text(value) for name, value in params.items()}
        desc = _library.defaults(_abi.LayerDesc)
        desc.kind = kind.encode() if kind is not None else None
        desc.prefix = prefix.encode()
        desc.params, desc.param_count = _library.texts(texts), len(texts)
        desc.renames, desc.rename_count = _library.texts(dict(rename or {})), len(rename or {})
        return desc, texts

    def _create(self, function: Any, *arguments: Any) -> None:
        self._handle, _ = _library.create(self, function, _library.core.atl_layer_release, *arguments)

    @property
    def handle(self) -> ctypes.c_void_p:
        """The atl_layer, for other bindings."""
        return self._handle

    @property
    def kind(self) -> str:
        """Such as "se"."""
        name: bytes = _library.core.atl_layer_kind(self._handle)
        return name.decode()

    @property
    def takes_key(self) -> bool:
        """Whether runs take a key, a value and masks besides x."""
        return bool(_library.core.atl_layer_takes_key(self._handle))

    @property
    def batch_axis(self) -> int:
        """Of x and y: 0, or 1 with batch_first=False, where they are [C, B, ...]."""
        return self._batch_axis

    def __repr__(self) -> str:
        return f"<attentile.Layer: {self.kind}>"
