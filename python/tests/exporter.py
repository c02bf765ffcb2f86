# SPDX-License-Identifier: Apache-2.0
"""A tensor of no framework: exports memory by DLPack, of any type, device and version, and counts who holds it."""
import ctypes

from attentile import _dlpack

_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR]


class Exporter:
    """`array` gives the memory and the shape; `code` is DLPack's type code, 2 for floats."""

    def __init__(self, array, code=2, device=1, versioned=False, read_only=False, fault=None):
        self.array, self.code, self.device_type = array, code, device
        self.versioned, self.read_only, self.fault = versioned, read_only, fault
        self.held = 0

    def __dlpack_device__(self):
        return self.device_type, 0

    def _fill(self, tensor):
        rank = self.array.ndim
        self._shape = (ctypes.c_int64 * rank)(*self.array.shape)
        self._strides = (ctypes.c_int64 * rank)(*(s // self.array.itemsize for s in self.array.strides))
        tensor.data, tensor.device_type, tensor.ndim = self.array.ctypes.data, self.device_type, rank
        tensor.code, tensor.bits, tensor.lanes = self.code, 8 * self.array.itemsize, 1
        tensor.shape = ctypes.cast(self._shape, ctypes.POINTER(ctypes.c_int64))
        tensor.strides = ctypes.cast(self._strides, ctypes.POINTER(ctypes.c_int64))

    def _drop(self, _):
        self.held -= 1

    def __dlpack__(self, **options):
        if self.fault:
            raise self.fault
        if options and not self.versioned:
            raise TypeError("no max_version")
        if self.versioned:
            self._managed = _dlpack._Versioned(major=1, minor=0, flags=int(self.read_only))
            self._fill(self._managed.tensor)
        else:
            self._managed = _dlpack._Tensor()
            self._fill(self._managed)
        self.held += 1
        self._destructor = _DESTRUCTOR(self._drop)
        return _new(ctypes.addressof(self._managed), b"dltensor_versioned" if self.versioned else b"dltensor",
                    self._destructor)
