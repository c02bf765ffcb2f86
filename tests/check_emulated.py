#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Other machines: builds kernel-check for ARM64 with a cross compiler, so that the NEON vocabulary compiles, and runs it, and
the native one as an old x86-64, under user-mode emulation. What is not installed is skipped, and said.

check_emulated.py SOURCE KERNEL_CHECK       exit status 77 when nothing could be done at all
"""
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

source, native = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
done = failed = 0


def step(what, command):
    """Runs a command; its output is shown when it fails."""
    global done, failed
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    done += 1
    failed += result.returncode != 0
    print(("ok   " if result.returncode == 0 else "FAIL ") + what)
    print("     " + "\n     ".join((result.stdout + result.stderr).strip().splitlines()[-30:]))
    return result.returncode == 0


def compare(what, command, other):
    """Two machines: their scalar kernels must have the same digests of results."""
    lines = [[line for line in subprocess.run([str(c) for c in words], capture_output=True, text=True).stdout.splitlines()
              if "_scalar " in line] for words in (command, other)]
    differing = [f"{a} | {b}" for a, b in zip(*lines) if a != b]
    same = lines[0] and len(lines[0]) == len(lines[1]) and not differing
    step(what, ["true" if same else "false"])
    for line in differing:
        print("     " + line)


def tool(name, why):
    path = shutil.which(name)
    if not path:
        print(f"skip {why}: {name} is not installed")
    return path


def arm64(folder):
    cc = tool("aarch64-linux-gnu-gcc", "ARM64")
    if not cc:
        return
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror",
             "-Wno-psabi", "-Iinclude", "-Ikernels", "-Isrc", "-Itests"]
    objects = []
    for isa in ("SCALAR", "NEON"):
        for template in sorted((source / "kernels/tmpl").glob("*.c")):
            objects.append(folder / f"{isa}-{template.stem}.o")
            command = [cc, *flags, f"-DATL_SIMD_{isa}", "-c", template, "-o", objects[-1]]
            if subprocess.run([str(c) for c in command], cwd=source).returncode:
                step(f"{template.name} for {isa}", ["false"])
                return
    rest = ["kernels/select.c", "src/cpu.c", "src/fail.c", "tests/kernel_main.c", "tests/fill.c", "tests/guard.c",
            *(p.relative_to(source) for p in sorted((source / "tests").glob("kernel_check*.c")))]
    program = folder / "kernel-check"
    if not step("ARM64: cross build", ["sh", "-c", 'cd "$0" && exec "$@"', source, cc, "-static", *flags, *rest, *objects,
                                        "-lm", "-o", program]):
        return
    emulator = tool("qemu-aarch64", "running the ARM64 build")
    if emulator:
        step("ARM64: NEON gives the bits of scalar", [emulator, program, "neon"])
        compare("ARM64: scalar gives the bits of this machine's scalar", [native], [emulator, program])


def old_x86():
    if platform.machine() != "x86_64":
        return
    emulator = tool("qemu-x86_64", "an old x86-64 processor")
    if emulator:
        step("x86-64 without AVX: dispatch stays with scalar", [emulator, "-cpu", "Nehalem", native, "scalar"])


with tempfile.TemporaryDirectory() as name:
    arm64(pathlib.Path(name))
old_x86()
sys.exit(1 if failed else 0 if done else 77)
