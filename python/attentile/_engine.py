# SPDX-License-Identifier: Apache-2.0
"""The engine: threads, instruction set, workspaces."""
from __future__ import annotations

import ctypes
import dataclasses
import threading
from typing import TYPE_CHECKING, Sequence

from . import _abi, _library
from ._options import as_size

if TYPE_CHECKING:
    from ._layer import Layer
    from ._plan import Plan


@dataclasses.dataclass(frozen=True)
class EngineInfo:
    """What an engine is, and the machine that it found. Counts of 0 are unknown."""

    threads: int  #: the team's size, the calling thread's help included
    threads_requested: int  #: what the argument, the environment or the default asked for
    isa: str  #: the instruction set in use, such as "avx512"
    isa_found: str  #: the best this machine and this build have
    cpu: str  #: the processor's name, or "unknown"
    packages: int
    numa_nodes: int
    cores: int
    processors: int
    processors_available: int  #: to this process: its affinity mask
    quota: float  #: processors that the cgroup grants; 0 = no limit
    l1d_bytes: int  #: per instance, as the following
    l2_bytes: int
    l3_bytes: int


class Engine:
    """One team of threads, and the workspaces that runs borrow. One per process is usual.

    Any number of Python threads may run plans on one engine at once: at most `threads` of team and callers compute at a
    time. Runs hold no lock of Python's. A forked child may go on using engines, layers and plans of its parent.

    threads
        1 to 1024; 0 = ATTENTILE_NUM_THREADS, else the first number of OMP_NUM_THREADS, else the processors available, at
        most the cgroup's quota rounded up. Where the system grants fewer, the engine has those: see `info`.
    bind
        Binds each thread of the team to a core of its own.
    max_isa
        "scalar", "avx2", "avx512" or "neon": the highest instruction set to use; None = ATTENTILE_MAX_ISA, else the best.

    Raises InvalidArgument (also for a wrong value in an ATTENTILE_ variable), Unsupported (an instruction set that this
    machine lacks), OutOfMemory, SystemFailure.
    """

    def __init__(self, threads: int = 0, *, bind: bool = False, max_isa: str | None = None) -> None:
        options = _library.defaults(_abi.EngineOptions)
        options.threads, options.bind = as_size(threads, "threads", bits=32), bind
        options.max_isa = max_isa.encode() if max_isa is not None else None
        self._handle, self._release = _library.create(
            self, _library.core.atl_engine_create, _library.core.atl_engine_release, ctypes.byref(options))

    def close(self) -> None:
        """Lets go of the engine; the team stops when its last plan is gone too. A second call does nothing."""
        self._release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def handle(self) -> ctypes.c_void_p:
        """The atl_engine, for other bindings. ValueError once closed."""
        if not self._release.alive:
            raise ValueError("engine: is closed")
        return self._handle

    @property
    def info(self) -> EngineInfo:
        """Threads, instruction set and machine."""
        info = _abi.EngineInfo(size=ctypes.sizeof(_abi.EngineInfo))
        _library.call(_library.core.atl_engine_get_info, self.handle, ctypes.byref(info))
        return EngineInfo(**_library.values(info, dataclasses.fields(EngineInfo)))

    @property
    def threads(self) -> int:
        """The team's size, the calling thread's help included."""
        return self.info.threads

    @property
    def isa(self) -> str:
        """The instruction set in use, such as "avx512"."""
        return self.info.isa

    @property
    def kernels(self) -> dict[str, str]:
        """The kernels that the engine chose: implementation by slot."""
        slot, implementation = ctypes.c_char_p(), ctypes.c_char_p()
        found: dict[str, str] = {}
        while _library.core.atl_engine_kernel(self.handle, len(found), ctypes.byref(slot),
                                              ctypes.byref(implementation)):
            found[(slot.value or b"").decode()] = (implementation.value or b"").decode()
        return found

    def plan(self, layer: Layer, shape: Sequence[int], *, key_length: int | None = None) -> Plan:
        """Prepares `layer` for inputs of `shape`, batch included; see Plan."""
        from ._plan import Plan
        return Plan(self, layer, shape, key_length=key_length)

    def __repr__(self) -> str:
        if not self._release.alive:
            return "<attentile.Engine, closed>"
        info = self.info
        return f"<attentile.Engine: {info.threads} threads, {info.isa}>"


_default: Engine | None = None
_default_lock = threading.Lock()


def default_engine() -> Engine:
    """The engine of calls that name none: made by the first of them with the default options."""
    global _default
    with _default_lock:
        if _default is None or not _default._release.alive:
            _default = Engine()
        return _default
