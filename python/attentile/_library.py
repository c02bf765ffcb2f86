# SPDX-License-Identifier: Apache-2.0
"""Finds libattentile and libattentile-io, loads them, and checks that they are what this package was written for."""
from __future__ import annotations

import ctypes
import dataclasses
import os
import pathlib
import weakref
from typing import Any, NoReturn, TypeVar

from . import _abi
from ._errors import make_error

_SONAME, _IO_SONAME = f"libattentile.so.{_abi.ABI}", f"libattentile-io.so.{_abi.ABI}"
_VARIABLE = "ATTENTILE_LIBRARY"
_PROBE_BYTES = 4096  # for options of a newer library, which may be longer than those here

Owner = TypeVar("Owner")
Options = TypeVar("Options", _abi.EngineOptions, _abi.LayerDesc, _abi.PlanOptions, _abi.RunOptions,
                  _abi.AttentionArgs)


def _places() -> list[tuple[str, str, str]]:
    """(what it is, libattentile, libattentile-io), first choice first. A set variable is the only choice."""
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        return [(_VARIABLE, chosen, _beside(pathlib.Path(chosen)))]
    package = pathlib.Path(__file__).resolve().parent
    built = package.parent.parent / "build" / "src"
    wheel = package.parent / ".attentile.mesonpy.libs"  # where meson-python puts libraries
    return [("in the wheel", str(wheel / _SONAME), str(wheel / _IO_SONAME)),
            ("in the build folder of the repository", str(built / _SONAME), str(built / "io" / _IO_SONAME)),
            ("of the system", _SONAME, _IO_SONAME)]


def _beside(core: pathlib.Path) -> str:
    """libattentile-io of a libattentile: in the same folder where installed, in io/ where built."""
    built = core.parent / "io" / _IO_SONAME
    return str(built if built.exists() else core.parent / _IO_SONAME)


def _load() -> tuple[ctypes.CDLL, ctypes.CDLL, str]:
    tried = []
    for what, core, io in _places():
        try:
            # In this order: libattentile-io then finds the libattentile that is loaded already.
            return ctypes.CDLL(core), ctypes.CDLL(io), core
        except OSError as error:
            tried.append(f"  {core} ({what}): {error}")
    raise ImportError("attentile: the library was not found. Tried:\n" + "\n".join(tried) +
                      f"\nBuild it (meson setup build && ninja -C build), install it, or set {_VARIABLE} to the path of "
                      f"{_SONAME}.")


def _declare(library: ctypes.CDLL, functions: dict[str, tuple[Any, list[Any]]]) -> None:
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _version(library: ctypes.CDLL) -> str:
    library.atl_version.restype = ctypes.c_char_p
    text: str = library.atl_version().decode()
    numbers = tuple(int(part) for part in text.split("."))
    if numbers < _abi.OLDEST or numbers[0] != _abi.OLDEST[0]:
        oldest = ".".join(map(str, _abi.OLDEST))
        raise ImportError(f"attentile: {path}: expected version {oldest} or newer, below {_abi.OLDEST[0] + 1}, got {text}")
    return text


def _read_defaults(library: ctypes.CDLL, options: type[ctypes.Structure], init: str) -> bytes:
    probe = ctypes.create_string_buffer(_PROBE_BYTES)
    function = getattr(library, init)
    function.restype, function.argtypes = None, [ctypes.c_void_p]
    function(probe)
    size, known = ctypes.c_size_t.from_buffer(probe).value, ctypes.sizeof(options)
    if size < known:
        raise ImportError(f"attentile: {path}: {init} knows {size} bytes (expected {known} or more): "
                          "the library is older than this package")
    return bytes(ctypes.c_size_t(known)) + probe.raw[ctypes.sizeof(ctypes.c_size_t):known]


core, io, path = _load()
try:
    version = _version(core)
    _declare(core, _abi.CORE)
    _declare(io, _abi.IO)
    _defaults = {options: _read_defaults(core, options, init) for options, init in _abi.DEFAULTS.items()}
except AttributeError as missing:
    raise ImportError(f"attentile: {path}: the library is older than this package ({missing})") from None

# For bound runs: without declared arguments nothing is converted, so each must be a ctypes object of the right type.
run = core["atl_run"]
run.restype = ctypes.c_int


def defaults(options: type[Options]) -> Options:
    """Options with the library's defaults."""
    return options.from_buffer_copy(_defaults[options])


def raise_error(error: _abi.Error) -> NoReturn:
    """Raises what the library said."""
    raise make_error(error.status, error.message.decode("utf-8", "replace"))


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last parameter is an atl_error, and raises what it says."""
    error = _abi.Error()
    if function(*arguments, ctypes.byref(error)):
        raise_error(error)


def create(owner: Owner, function: Any, release: Any, *arguments: Any
           ) -> tuple[ctypes.c_void_p, weakref.finalize[[ctypes.c_void_p], Owner]]:
    """A handle from a function that ends in (handle, error), and what releases it when `owner` goes."""
    handle = ctypes.c_void_p()
    call(function, *arguments, ctypes.byref(handle))
    finalizer = weakref.finalize(owner, release, handle)
    finalizer.atexit = False  # a daemon thread may still be in a run; the process frees all
    return handle, finalizer


def values(info: ctypes.Structure, fields: tuple[dataclasses.Field[Any], ...]) -> dict[str, Any]:
    """These fields of a struct, words as str."""
    found = {field.name: getattr(info, field.name) for field in fields}
    return {name: one.decode("utf-8", "replace") if isinstance(one, bytes) else one for name, one in found.items()}


def texts(pairs: dict[str, str]) -> Any:
    """An array of atl_param."""
    return (_abi.Param * len(pairs))(*(_abi.Param(name.encode(), value.encode()) for name, value in pairs.items()))
