#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the Python package's tests (python/tests) on the package of the checkout and the library in ATTENTILE_LIBRARY.

check_python.py SOURCE [ARGUMENT OF PYTEST]...

Exit status 0 all pass, 77 when NumPy or pytest is not installed; where continuous integration runs, that is a failure.
"""
import importlib.util
import os
import pathlib
import subprocess
import sys

source = pathlib.Path(sys.argv[1]).resolve()
missing = [name for name in ("numpy", "pytest") if not importlib.util.find_spec(name)]
if missing:
    print(f"skip the Python package: {sys.executable} has no {' and no '.join(missing)}")
    sys.exit(1 if os.environ.get("CI") else 77)
command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(source / "python/tests")]
path = os.pathsep.join([str(source / "python"), *filter(None, [os.environ.get("PYTHONPATH")])])
sys.exit(subprocess.run([*command, *sys.argv[2:]], cwd=source, env={**os.environ, "PYTHONPATH": path}).returncode)
