#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the Debian packages, source and binary, from a copy of the sources, lets lintian look at them, unpacks them and runs the command.

check_package.py SOURCE. Exit status 77 when the tools for it are not installed; where continuous integration runs, that is a
failure.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1]).resolve()
PACKAGES = {"libattentile1", "libattentile-dev", "attentile"}


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout[-8000:]}{done.stderr[-8000:]}")
    return done.stdout


def missing_tools():
    missing = [tool for tool in ("dpkg-buildpackage", "dpkg-checkbuilddeps", "dh", "lintian") if not shutil.which(tool)]
    if not missing:
        done = subprocess.run(["dpkg-checkbuilddeps"], cwd=source, capture_output=True, text=True)
        if done.returncode:
            missing = [done.stderr.strip().splitlines()[-1]]
    return missing


def copy_sources(to):
    """What belongs to the sources: of a checkout the files that git knows or would take, else all but build folders."""
    listed = subprocess.run(["git", "-C", source, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode:
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("build", "build-*"), symlinks=True)
        return
    for name in filter(None, listed.stdout.split("\0")):
        if (source / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, to / name, follow_symlinks=False)


missing = missing_tools()
if missing:
    print(f"skip the Debian packages: {', '.join(missing)}")
    sys.exit(1 if os.environ.get("CI") else 77)
version = run("sh", source / "tools/header-version", "version").strip()
with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    copy_sources(place / "attentile")
    # The kernels' and layers' own check is part of the tests already.
    env = os.environ | {"DEB_BUILD_OPTIONS": f"nocheck parallel={os.cpu_count()}", "LC_ALL": "C.UTF-8"}
    run("dpkg-buildpackage", "-us", "-uc", cwd=place / "attentile", env=env)
    built = {deb.name.split("_")[0]: deb for deb in place.glob("*.deb") if "-dbgsym_" not in deb.name}
    if set(built) != PACKAGES:
        sys.exit(f"expected the packages {sorted(PACKAGES)}, got {sorted(built)}")
    said = run("lintian", "--profile", "debian", "--fail-on", "error", "--allow-root", next(place.glob("*.changes")), env=env)
    root = place / "root"
    for deb in built.values():
        run("dpkg-deb", "-x", deb, root)
    libraries = next(root.rglob("libattentile.so")).parent
    printed = run(root / "usr/bin/attentile", "--version", env=os.environ | {"LD_LIBRARY_PATH": str(libraries)})
    if printed != f"attentile {version}\n":
        sys.exit(f"attentile --version printed {printed!r}, not {version}")
    depends = run("dpkg-deb", "-f", built["attentile"], "Depends")
    if not re.search(r"\blibattentile1 \(>= ", depends) or "libhwloc" not in run("dpkg-deb", "-f", built["libattentile1"], "Depends"):
        sys.exit(f"attentile depends on {depends!r}")
    print(f"{', '.join(sorted(built))} {version}; lintian: {said.strip() or 'nothing to say'}")
