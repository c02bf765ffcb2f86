#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds a wheel, installs it into a virtual environment of its own, and runs the package's tests and mypy there.

check_wheel.py SOURCE

Exit status 0 all is well, 77 when there is no virtual environment or no package index to be had; where continuous
integration runs, that is a failure.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1]).resolve()
# The installed package must find its own library, not this build's.
env = {name: value for name, value in os.environ.items() if name not in ("ATTENTILE_LIBRARY", "PYTHONPATH")}
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "-q")


def run(*command, cwd):
    return subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)


def must(*command, cwd):
    done = run(*command, cwd=cwd)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def skip(what, done):
    print(f"skip the wheel: {what}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    sys.exit(1 if os.environ.get("CI") else 77)


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    made = run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    if made.returncode:
        skip("no virtual environment", made)
    python = folder / "venv/bin/python"
    got = run(python, *PIP, "numpy", "pytest", "mypy", cwd=folder)
    if got.returncode:
        skip("no packages", got)
    must(python, *PIP, f"--config-settings=builddir={folder / 'build'}", source, cwd=folder)
    files = "import attentile; print(attentile.__file__); print(attentile.library_path)"
    where = must(python, "-B", "-c", files, cwd=folder)
    if any(not line.startswith(str(folder / "venv")) for line in where.splitlines()):
        sys.exit(f"expected the package and its library in the virtual environment, got\n{where}")
    pytest = must(python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", source / "python/tests", cwd=folder)
    print(pytest.splitlines()[-1])
    strict = ("--strict", f"--cache-dir={folder / 'mypy'}")
    print(must(python, "-m", "mypy", *strict, source / "python/attentile", cwd=folder))
