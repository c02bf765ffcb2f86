# SPDX-License-Identifier: Apache-2.0
"""Tensors of other frameworks as NumPy arrays over the same memory, bfloat16 among them (which numpy.from_dlpack refuses)."""
from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy
import numpy.typing

from ._errors import InvalidArgument


# dlpack.h of DLPack 1.0, and of the versions before it.
class _Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)),
                ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


class _Versioned(ctypes.Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("manager", c_void_p), ("deleter", c_void_p),
                ("flags", c_uint64), ("tensor", _Tensor)]


_CPU = 1
_HOST_DEVICES = (_CPU, 3, 11, 13)  # also pinned and managed memory of CUDA and ROCm, which the CPU reads
_READ_ONLY = 1
_NEWEST = (1, 0)
# Type codes as NumPy's kinds; bfloat16 is two bytes without a meaning.
_KINDS = {0: "i", 1: "u", 2: "f", 4: "V", 5: "c", 6: "b"}

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]


class _Exported:
    """What NumPy makes an array of, and keeps for as long as the array lives. The capsule is never consumed: when it goes,
    it tells the framework."""

    def __init__(self, capsule: object, interface: dict[str, Any]) -> None:
        self._capsule = capsule
        self.__array_interface__ = interface


def _export(tensor: Any, name: str) -> object:
    """The capsule of a tensor, which must be in memory that the CPU reads."""
    try:
        device = tensor.__dlpack_device__()
    except (BufferError, RuntimeError, ValueError, TypeError) as error:
        raise InvalidArgument(f"{name}: the tensor cannot be exported: {error}") from error
    if device[0] not in _HOST_DEVICES:
        raise InvalidArgument(f"{name}: expected a tensor in the memory of the CPU, got one on device "
                              f"{getattr(tensor, 'device', tuple(map(int, device)))}")
    try:
        try:
            return tensor.__dlpack__(max_version=_NEWEST)
        except TypeError:
            return tensor.__dlpack__()
    except (BufferError, RuntimeError) as error:
        raise InvalidArgument(f"{name}: the tensor cannot be exported: {error}") from error


def _read(capsule: object, name: str) -> tuple[_Tensor, bool]:
    """The tensor in a capsule, and whether it is read-only."""
    if _is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        if versioned.major != _NEWEST[0]:
            raise InvalidArgument(f"{name}: expected DLPack {_NEWEST[0]}, got {versioned.major}.{versioned.minor}")
        return versioned.tensor, bool(versioned.flags & _READ_ONLY)
    return _Tensor.from_address(_pointer(capsule, b"dltensor")), False


def from_dlpack(tensor: Any, name: str) -> numpy.typing.NDArray[Any]:
    """An array over the tensor's memory."""
    capsule = _export(tensor, name)
    found, read_only = _read(capsule, name)
    kind, size = _KINDS.get(found.code), found.bits // 8
    if kind is None or found.lanes != 1 or found.bits % 8 or size == 0:
        raise InvalidArgument(f"{name}: no such dtype in NumPy (DLPack code {found.code}, {found.bits} bits, "
                              f"{found.lanes} lanes)")
    shape = tuple(found.shape[:found.ndim])
    strides = tuple(step * size for step in found.strides[:found.ndim]) if found.strides else None
    if 0 in shape or not found.data:
        return numpy.empty(shape, f"{kind}{size}")
    dtype = numpy.dtype(f"{kind}{size}")
    return numpy.asarray(_Exported(capsule, {"version": 3, "shape": shape, "typestr": dtype.str, "strides": strides,
                                             "data": (found.data + found.byte_offset, read_only)}))
