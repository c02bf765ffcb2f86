#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs into a folder of its own, then builds the README's C example against it with pkg-config and runs it; and lets
the installed command check itself there.

check_install.py SOURCE BUILD
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def example():
    blocks = re.findall(r"```c\n(.*?)```", (source / "README.md").read_text(), re.S)
    if len(blocks) != 1:
        sys.exit(f"README.md: expected one C example, found {len(blocks)}")
    return blocks[0]


with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    run("meson", "install", "-C", build, "--no-rebuild", "--quiet", env=os.environ | {"DESTDIR": str(root)})
    pc = next(root.rglob("attentile.pc"), None)
    if not pc:
        sys.exit("attentile.pc was not installed")
    env = os.environ | {"PKG_CONFIG_PATH": str(pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(root),
                        "LD_LIBRARY_PATH": str(pc.parent.parent)}
    flags = shlex.split(run("pkg-config", "--cflags", "--libs", "attentile", env=env))
    (root / "example.c").write_text(example())
    run("cc", "-std=gnu11", "-Wall", "-Werror", root / "example.c", "-o", root / "example", *flags)
    printed = run(root / "example", env=env)
    match = re.fullmatch(r"x\[1\] = (\d\.\d+), y\[1\] = (\d\.\d+)\n", printed)
    if not match or not 0 < float(match[2]) < float(match[1]):
        sys.exit(f"the example printed {printed!r}")
    version = run("pkg-config", "--modversion", "attentile", env=env).strip()
    soname = run("readelf", "-d", next(root.rglob("libattentile.so")))
    wanted, abi = (run("sh", source / "tools/header-version", what).strip() for what in ("version", "abi"))
    if version != wanted or f"libattentile.so.{abi}]" not in soname:
        sys.exit(f"version {version}, {soname}")
    checked = run(next(root.rglob("bin/attentile")), "check", "--small", env=env, cwd=folder).splitlines()
    if not checked[0].startswith("isa: ") or not re.fullmatch(r"[1-9]\d* passed, 0 failed", checked[-1]):
        sys.exit(f"attentile check printed {checked[0]!r} ... {checked[-1]!r}")
    print(f"example: {printed.strip()}; {len(example().splitlines())} lines")
