#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs into a folder of its own and looks at what is there; builds the README's C example against it, and a project with
meson and pkg-config and with CMake, and runs them; and lets the installed command check itself there.

check_install.py SOURCE BUILD
"""
import os
import pathlib
import re
import shlex
import shutil
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


def build_with_meson(root, env):
    """The consumer project, which finds the library by pkg-config; its program."""
    run("meson", "setup", root / "meson", source / "tests/consumer", "--wrap-mode=nofallback", env=env)
    run("meson", "compile", "-C", root / "meson", env=env)
    return root / "meson/consumer"


def build_with_cmake(root, prefix):
    # Ninja is there; CMake's own choice, make, need not be.
    env = os.environ | {"CMAKE_PREFIX_PATH": str(prefix), "CMAKE_GENERATOR": "Ninja"}
    run("cmake", "-S", source / "tests/consumer", "-B", root / "cmake", env=env)
    run("cmake", "--build", root / "cmake", env=env)
    (root / "versions").mkdir()
    (root / "versions/CMakeLists.txt").write_text(VERSIONS.format(version=wanted))
    run("cmake", "-S", root / "versions", "-B", root / "versions/build", env=env)
    return root / "cmake/consumer"


# What may be asked for, and what must not be found.
VERSIONS = """cmake_minimum_required(VERSION 3.19)
project(versions LANGUAGES C)
find_package(attentile {version} EXACT CONFIG REQUIRED)
find_package(Attentile 0.0.1...{version} CONFIG REQUIRED)
foreach(wrong 1 9.0 0.0.1...<{version} 1...2 {version}.1)
  unset(Attentile_DIR CACHE)
  find_package(Attentile ${{wrong}} CONFIG QUIET)
  if(Attentile_FOUND)
    message(FATAL_ERROR "{version} was taken for ${{wrong}}")
  endif()
endforeach()
"""


def check_consumer(program, env, how):
    with tempfile.TemporaryDirectory() as folder:
        printed = run(program, env=env, cwd=folder)
        if printed != f"y = 1 2 3 4, {wanted}\n" or not (pathlib.Path(folder) / "y.npy").exists():
            sys.exit(f"the consumer ({how}) printed {printed!r}")
    libraries = run("readelf", "-d", program)
    if f"[libattentile.so.{abi}]" not in libraries or f"[libattentile-io.so.{abi}]" not in libraries:
        sys.exit(f"the consumer ({how}) does not need libattentile: {libraries}")
    print(f"consumer ({how}): {printed.strip()}")


def check_files(prefix):
    """What belongs to an installation, by the folder it goes to."""
    commands = re.findall(r"^COMMAND\((\w+)\)", (source / "tools/attentile/commands.def").read_text(), re.M)
    pages = ["attentile.1", *(f"attentile-{name}.1" for name in commands)]
    expected = [*(f"share/man/man1/{page}" for page in pages), "bin/attentile",
                *(f"include/attentile/{header.name}" for header in (source / "include/attentile").glob("*.h")),
                "share/bash-completion/completions/attentile.bash", "share/zsh/site-functions/_attentile",
                "share/fish/vendor_completions.d/attentile.fish",
                *(f"lib/{name}" for name in ("cmake/attentile/attentile-config.cmake", "cmake/attentile/attentile-config-version.cmake",
                                             "pkgconfig/attentile.pc", "pkgconfig/attentile-io.pc")),
                *(f"lib/lib{name}.so{ending}" for name in ("attentile", "attentile-io")
                  for ending in ("", f".{abi}", f".{abi}.{'.'.join(wanted.split('.')[1:])}"))]
    # lib is lib, lib64 or lib/x86_64-linux-gnu
    installed = [re.sub(r"^lib(64|/[a-z0-9_]+-linux-[a-z0-9]+)?/", "lib/", str(f.relative_to(prefix)))
                 for f in prefix.rglob("*") if not f.is_dir()]
    if sorted(installed) != sorted(expected):
        sys.exit(f"installed, but not expected: {sorted(set(installed) - set(expected))}; expected, but not installed: "
                 f"{sorted(set(expected) - set(installed))}")
    print(f"{len(installed)} files installed")


def check_prefix(root):
    """Another prefix and folder for libraries: what stands in the files that name them."""
    build = root / "elsewhere"
    run("meson", "setup", build, source, "--prefix=/opt/attentile", "--libdir=libraries", "--includedir=/opt/headers",
        *(f"-D{part}=disabled" for part in ("command", "tests", "bench")))
    pc = (build / "meson-private/attentile.pc").read_text()
    config = (build / "cmake/attentile-config.cmake").read_text()
    for text, line in ((pc, "prefix=/opt/attentile"), (pc, "libdir=${prefix}/libraries"), (pc, "includedir=/opt/headers"),
                       (config, '"${_attentile_folder}/../../.."'), (config, '"${_attentile_prefix}/libraries/lib${name}.so.'),
                       (config, '"/opt/headers"')):
        if line not in text:
            sys.exit(f"--prefix: no {line} in {text}")


wanted, abi = (run("sh", source / "tools/header-version", what).strip() for what in ("version", "abi"))
with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    run("meson", "install", "-C", build, "--no-rebuild", "--quiet", env=os.environ | {"DESTDIR": str(root)})
    pc = next(root.rglob("attentile.pc"), None)
    if not pc:
        sys.exit("attentile.pc was not installed")
    prefix = next(root.rglob("bin/attentile")).parents[1]
    check_files(prefix)
    check_prefix(root)
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
    if version != wanted or f"libattentile.so.{abi}]" not in soname:
        sys.exit(f"version {version}, {soname}")
    check_consumer(build_with_meson(root, env), env, "meson and pkg-config")
    if shutil.which("cmake"):
        check_consumer(build_with_cmake(root, prefix), env, "CMake")
    else:
        print("skip the consumer with CMake: not installed")
    checked = run(next(root.rglob("bin/attentile")), "check", "--small", env=env, cwd=folder).splitlines()
    if not checked[0].startswith("isa: ") or not re.fullmatch(r"[1-9]\d* passed, 0 failed", checked[-1]):
        sys.exit(f"attentile check printed {checked[0]!r} ... {checked[-1]!r}")
    print(f"example: {printed.strip()}; {len(example().splitlines())} lines")
