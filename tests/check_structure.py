#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shape of the code: who may include and call whom, what the libraries export and link, headers that stand alone.

check_structure.py SOURCE BUILD prints a line per rule and fails when one is broken, or when a rule found nothing to look
at.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from rules import broken, rule  # noqa: E402

source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])


def files(folder, *endings):
    return [p for p in sorted((source / folder).rglob("*")) if p.suffix in endings]


def name(path):
    return str(path.relative_to(source))


def includes(path):
    """(as written, resolved inside the source tree or None) of each #include."""
    for spelled in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M):
        beside = (path.parent / spelled).resolve()
        places = [beside, source / "include" / spelled, source / "src" / spelled, source / "kernels" / spelled,
                  source / "bench" / spelled, source / "tests" / spelled, source / "tests/oracle" / spelled, source / "tests/check" / spelled]
        yield spelled, next((p for p in places if p.is_file()), None)


def include_faults(paths, allowed):
    """Includes of the project's own files outside the allowed folders or files."""
    for path in paths:
        for spelled, target in includes(path):
            if target and not any(name(target.resolve()).startswith(a) for a in allowed):
                yield f"{name(path)} includes {spelled}"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ---- includes and calls ----

kernels = files("kernels", ".c", ".h", ".def")
rule("kernels/ includes nothing but kernels/", len(kernels), include_faults(kernels, ["kernels/"]))

core = [p for p in files("src", ".c", ".h") if "io" not in p.relative_to(source / "src").parts]
rule("src/ includes public headers, src/ and kernels.h", len(core),
     include_faults(core, ["include/", "src/", "kernels/kernels.h", "kernels/kernels.def"]))

io = files("src/io", ".c", ".h")
rule("src/io/ includes public headers, itself, and how to fail and to read options", len(io),
     include_faults(io, ["include/", "src/io/", "src/error.h", "src/options.h"]))

command = files("tools", ".c", ".h")
rule("the command includes public headers, itself, the oracle, the checkers, instruction sets and the nearest name",
     len(command), include_faults(command, ["include/", "tools/", "tests/oracle/oracle.h", "tests/check/", "tests/kernel_check.h", "bench/weights.h", "bench/shim.h",
                                            "kernels/kernels.h", "src/cpu.h", "src/nearest.h"]))

calls = [p for p in core if re.search(r"\.fn\(", p.read_text())]
rule("only src/ops/ calls kernels", len(calls), [name(p) for p in calls if "ops" not in p.parts])

for header in ("omp.h", "hwloc.h"):
    users = [p for p in core + io + kernels if header in [s for s, _ in includes(p)]]
    rule(f"exactly one file includes {header}", len(users), [name(p) for p in users[1:]])

fast = [p for folder in ("src", "kernels", "tools", "include") for p in files(folder, ".c", ".h", ".build")]
rule("no fast-math, no sanitizer exemption", len(fast),
     [name(p) for p in fast if re.search(r"ffast-math|Ofast|no_sanitize", p.read_text())])

code = [p for folder in ("src", "kernels", "tools", "include", "bench", "tests") for p in files(folder, ".c", ".h")]
rule("the licence is the first line of C files", len(code),
     [name(p) for p in code if not p.read_text().startswith("/* SPDX-License-Identifier: Apache-2.0 */\n")])

used = {target.resolve() for p in code + files("kernels", ".def") for _, target in includes(p) if target}
own = [p for p in code if p.suffix == ".h" and "include" not in p.relative_to(source).parts]
rule("every header of our own is included somewhere", len(own), [name(p) for p in own if p not in used])

# ---- libraries ----


def exported(library):
    return {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", str(library)).splitlines()
            if line.split()[-2] in "TDBR"}


def declared(*headers):
    text = "".join((source / "include/attentile" / h).read_text() for h in headers)
    return set(re.findall(r"ATL_API[^;(]*?\b(atl_\w+)\(", text))


# Debian's list of symbols is the record of what has been promised: what stands there may go only with a new ABI number.
abi = run("sh", str(source / "tools/header-version"), "abi").strip()
pinned = {}
for line in (source / "debian/libattentile1.symbols").read_text().splitlines():
    if line.startswith("lib"):
        pinned[line.split()[0]] = listed = set()
    elif line.startswith(" "):
        listed.add(line.split()[0])
rule("the list of symbols is that of this ABI number", len(pinned), [s for s in pinned if not s.endswith(f".so.{abi}")])

changes = (source / "debian/changelog").read_text()
version = run("sh", str(source / "tools/header-version"), "version").strip()
rule("Debian's package is of this version", 1,
     [] if changes.startswith(f"attentile ({version}) ") else [changes.splitlines()[0]])
rule("the newest news are of this version", 1,
     [] if re.search(r"^## (\S+)", (source / "NEWS.md").read_text(), re.M)[1] == version else ["NEWS.md"])

for library, headers in (("src/libattentile.so", ["attentile.h", "layers.h"]), ("src/io/libattentile-io.so", ["io.h"])):
    node = library.split("/lib")[-1].removesuffix(".so").upper().replace("-", "_") + f"_{abi}"
    present = {line.split()[-1].replace("@@", "@") for line in run("nm", "-D", "--defined-only", str(build / library)).splitlines()}
    promised = pinned.get(f"{library.split('/')[-1]}.{abi}", set())
    rule(f"{library} exports the symbols of debian/libattentile1.symbols", len(promised),
         [f"added: {s}" for s in present - promised - {node, f"{node}@{node}"}] + [f"gone: {s}" for s in promised - present - {f"{node}@{node}"}]
         + [f"not of {node}: {s}" for s in promised if not s.endswith(f"@{node}")])
    symbols, public = exported(build / library), declared(*headers)
    rule(f"{library} exports what its headers declare, and nothing else", len(symbols & public),
         [f"exported: {s}" for s in symbols - public] + [f"missing: {s}" for s in public - symbols])

needed = set(re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", str(build / "src/libattentile.so"))))
allowed = r"lib(gomp|hwloc|m|c|pthread)\.so|ld-linux"
rule("the core links libgomp, hwloc, libm and the C library", len(needed), [n for n in needed if not re.match(allowed, n)])

objects = 0
strangers = []
for archive in sorted(build.glob("kernels/libkernels-*.a")):
    isa = archive.stem.split("-")[-1]
    if isa == "select":
        continue
    for line in run("nm", "-g", "--defined-only", str(archive)).splitlines():
        if len(line.split()) == 3:
            objects += 1
            if not line.endswith("_" + isa):
                strangers.append(f"{archive.name}: {line.split()[-1]}")
rule("every global symbol compiled for an ISA carries its name", objects, strangers)

# ---- headers ----

compilers = [(["cc", "-std=c11"], ".c"), (["c++", "-std=c++17"], ".cc")]
headers = sorted((source / "include/attentile").glob("*.h"))
with tempfile.TemporaryDirectory() as folder:
    for compiler, ending in compilers:
        if not shutil.which(compiler[0]):
            print(f"skip  headers with {compiler[0]}: not installed")
            continue
        faults = []
        for header in headers:
            unit = pathlib.Path(folder) / (header.stem + ending)
            unit.write_text(f"#include <attentile/{header.name}>\n#include <attentile/{header.name}>\n")
            done = subprocess.run(compiler + ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-fsyntax-only", "-I",
                                  str(source / "include"), str(unit)], capture_output=True, text=True)
            if done.returncode:
                faults.append(done.stderr.strip().splitlines()[0])
        rule(f"every public header compiles alone: {' '.join(compiler)}", len(headers), faults)

sys.exit(len(broken) > 0)
