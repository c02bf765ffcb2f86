#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Other machines, under user-mode emulation: an old x86-64 processor, one that has AVX2 and nothing above, and ARM64. On
each `attentile check --small` must see the machine that is meant, find nothing wrong, and have the digests of this
machine's scalar kernels and layers. The command for ARM64 is cross-built here, against the distribution's packages where
they are there (tools/lib/arm64_packages.sh fetches them); without them the kernel checker alone is, which needs none.
What cannot be done is skipped, and said.

check_emulated.py SOURCE COMMAND ARM64_SYSROOT       exit status 77 when nothing could be done at all
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

source, command, fetched = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
done = failed = 0


def verdict(what, ok, details=""):
    global done, failed
    done += 1
    failed += not ok
    print(("ok   " if ok else "FAIL ") + what)
    if details.strip():
        print("     " + "\n     ".join(details.strip().splitlines()[-30:]))
    sys.stdout.flush()
    return ok


def run(words, **more):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, **more)


def step(what, words, **more):
    """Runs a command that must succeed; its output is shown when it does not."""
    result = run(words, **more)
    return verdict(what, result.returncode == 0, result.stdout + result.stderr if result.returncode else "")


def tool(name, why):
    path = shutil.which(name)
    if not path:
        print(f"skip {why}: {name} is not installed")
    return path


def digests(report):
    """What every machine must agree on: scalar kernels and layers."""
    kernels = {k["kernel"]: k["digest"] for k in report["kernels"] if k["isa"] == "scalar"}
    return kernels | {layer["layer"]: layer["digest"] for layer in report["layers"]}


def check(words, *options):
    """The report of `attentile check`, or None, and how it ended."""
    result = run([*words, "check", "--small", "--json", *options])
    try:
        return json.loads(result.stdout), result
    except ValueError:
        return None, result


def machine(what, isa, emulator, program, *options):
    """Runs the checker under an emulator, and compares with this machine."""
    report, result = check([*emulator, program], "--expect", isa, *options)
    if result.returncode or not report:
        first = [part["first_failure"] for part in (report["kernels"] + report["layers"]) if part["first_failure"]] if report \
            else []
        verdict(f"{what}: kernels and layers", False, f"exit status {result.returncode}\n{result.stderr}\n" + "\n".join(first))
        return
    used = {k["isa"] for k in report["kernels"]}
    verdict(f"{what}: {len(report['kernels'])} kernels and {len(report['layers'])} layers, {report['passed']} passed",
            isa in used and report["layers"])
    here, there = digests(native), digests(report)
    differing = [f"{name}: {here.get(name)} here, {there.get(name)} there" for name in sorted(here.keys() | there.keys())
                 if here.get(name) != there.get(name)]
    verdict(f"{what}: the digests of this machine's scalar kernels and layers", here and not differing, "\n".join(differing))


# ---- x86-64 ----

def x86():
    if platform.machine() != "x86_64":
        print("skip other x86-64 processors: this is not an x86-64 machine")
        return
    emulator = tool("qemu-x86_64", "other x86-64 processors")
    if not emulator:
        return
    machine("x86-64 without AVX", "scalar", [emulator, "-cpu", "Nehalem"], command)
    version = re.search(r"version (\d+)\.(\d+)", run([emulator, "--version"]).stdout)
    if not version or (int(version[1]), int(version[2])) < (7, 2):
        print(f"skip x86-64 with AVX2: QEMU emulates it from 7.2 on, and this is {version[0] if version else 'unknown'}")
    else:
        machine("x86-64 with AVX2", "avx2", [emulator, "-cpu", "max,avx512f=off"], command, "--no-guards")


# ---- ARM64 ----

PACKAGES = ["hwloc.pc", "jansson.pc", "libpng.pc", "libjpeg.pc", "libexif.pc"]

CROSS = """[constants]
sysroot = '{sysroot}'
[binaries]
c = ['{cc}', '--sysroot=' + sysroot]
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
[properties]
sys_root = sysroot
pkg_config_libdir = '{libdir}'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""


def arm64_sysroot():
    """The folder whose packages are for ARM64: this system's own (multiarch), or the fetched ones."""
    for sysroot in (pathlib.Path("/"), fetched):
        libdir = sysroot / "usr/lib/aarch64-linux-gnu/pkgconfig"
        if all((libdir / name).exists() for name in PACKAGES):
            return sysroot, libdir
    return None, None


def arm64_command(folder, cc, sysroot, libdir):
    build = folder / "build"
    cross = folder / "cross.ini"
    cross.write_text(CROSS.format(sysroot=sysroot, libdir=libdir, cc=cc))
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "CFLAGS", "LDFLAGS")}
    if not step("ARM64: cross build of the command, set up", ["meson", "setup", build, source, "--cross-file", cross,
                "--buildtype=release", "-Dcommand=enabled", "-Dtests=disabled", "-Dbench=disabled"], env=environment):
        return
    if not step("ARM64: cross build of the command", ["meson", "compile", "-C", build, "tools/attentile:executable"],
                env=environment):
        return
    emulator = tool("qemu-aarch64", "running the ARM64 build")
    if emulator:
        machine("ARM64", "neon", [emulator, "-L", sysroot], build / "tools/attentile")


def arm64_kernels(folder, cc):
    """Without packages: the kernels and their checker need the C library alone."""
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror",
             "-Wno-psabi", "-Iinclude", "-Ikernels", "-Isrc", "-Itests"]
    objects = []
    for isa in ("SCALAR", "NEON"):
        own = [*(source / "kernels/tmpl").glob("*.c"), *(source / "kernels" / isa.lower()).glob("*.c")]
        for kernel in sorted(own):
            objects.append(folder / f"{isa}-{kernel.parent.name}-{kernel.stem}.o")
            result = run([cc, *flags, f"-DATL_SIMD_{isa}", "-c", kernel, "-o", objects[-1]], cwd=source)
            if result.returncode:
                verdict(f"ARM64: {kernel.name} for {isa}", False, result.stderr)
                return
    rest = ["kernels/select.c", "src/cpu.c", "src/fail.c", "tests/fill.c", "tests/guard.c", "tests/kernel_main.c",
            *(p.relative_to(source) for p in sorted((source / "tests").glob("kernel_check*.c")))]
    program = folder / "kernel-check"
    if not step("ARM64: cross build of the kernel checker", [cc, "-static", *flags, *rest, *objects, "-lm", "-o", program],
                cwd=source):
        return
    emulator = tool("qemu-aarch64", "running the ARM64 build")
    if not emulator:
        return
    result = run([emulator, program, "neon"])
    verdict("ARM64: NEON gives the bits of scalar", result.returncode == 0,
            result.stdout + result.stderr if result.returncode else "")
    there = dict(re.findall(r"^(\w+_scalar) .*digest (\w+),", result.stdout, re.M))
    here = {k: d for k, d in digests(native).items() if k.startswith("atl_")}
    verdict("ARM64: scalar gives the bits of this machine's scalar", bool(here) and here == there)


def arm64():
    cc = tool("aarch64-linux-gnu-gcc", "ARM64")
    if not cc:
        return
    sysroot, libdir = arm64_sysroot()
    with tempfile.TemporaryDirectory() as name:
        if sysroot and shutil.which("meson") and shutil.which("pkg-config"):
            arm64_command(pathlib.Path(name), cc, sysroot, libdir)
        else:
            print("skip the command and the layers on ARM64: its packages are not there (tools/lib/arm64_packages.sh); the "
                  "kernels alone follow")
            arm64_kernels(pathlib.Path(name), cc)


native, outcome = check([command], "--isa", "scalar")
if outcome.returncode or not native:
    verdict("this machine, scalar", False, outcome.stdout + outcome.stderr)
else:
    x86()
    arm64()
sys.exit(1 if failed else 0 if done else 77)
