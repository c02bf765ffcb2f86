#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the consumer project with the library as a meson subproject, and runs it.

check_subproject.py SOURCE
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1]).resolve()


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    project, build = pathlib.Path(folder) / "project", pathlib.Path(folder) / "build"
    shutil.copytree(source / "tests/consumer", project)
    (project / "subprojects").mkdir()
    (project / "subprojects/attentile").symlink_to(source)
    said = run("meson", "setup", build, project, "--wrap-mode=forcefallback")
    for unwanted in ("jansson", "criterion"):
        if f"Dependency {unwanted} for host machine found" in said or f"Run-time dependency {unwanted} found" in said:
            sys.exit(f"a subproject asks for {unwanted}:\n{said}")
    run("meson", "compile", "-C", build, "consumer")
    printed = run(build / "consumer", cwd=folder)
    version = run("sh", source / "tools/header-version", "version").strip()
    if printed != f"y = 1 2 3 4, {version}\n":
        sys.exit(f"the consumer printed {printed!r}")
    print(f"consumer (subproject): {printed.strip()}")
