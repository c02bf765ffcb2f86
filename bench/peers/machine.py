# SPDX-License-Identifier: Apache-2.0
"""The machine: what it is, what else runs in this process, and what it can do at the moment."""
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "onnxruntime", "openvino", "onnx", "onnxscript", "numpy", "matplotlib")


def threads_available():
    return len(os.sched_getaffinity(0))


def memory_bytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")


def probe_path():
    given = os.environ.get("ATTENTILE_PROBE")
    path = pathlib.Path(given) if given else ROOT / "build/bench/peers/machine-probe"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found (build it: meson setup build && meson compile -C build, or name it in "
                                "ATTENTILE_PROBE)")
    return str(path)


class Probe:
    """Peak and bandwidth by the machine-probe program: a process of its own, so that no pool is in its way. Disturbance only
    ever lowers a rate, so the best of the measurements counts. As clocks change from minute to minute, one probe serves one
    row, and is a contender like others: it measures in every round. Bandwidth is that of the row's own size, as little of it
    stays in caches."""

    def __init__(self, isa, threads, work_bytes):
        self.command = [probe_path(), isa, str(threads), str(work_bytes)]
        self.rates = {}

    def measure(self):
        found = json.loads(subprocess.run(self.command, check=True, capture_output=True, text=True).stdout)
        self.rates = {key: max(value, self.rates.get(key, 0)) for key, value in found.items()}


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def caches():
    """{"L1d": bytes, …} of the first processor."""
    found = {}
    for folder in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        found["L" + level + {"Data": "d", "Instruction": "i"}.get(kind, "")] = int(size.rstrip("K")) * 1024
    return found


def versions():
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def fingerprint(engine_info, library_version):
    """Of the machine and of everything that takes part."""
    return {"cpu": cpu_model(), "isa": engine_info.isa, "isa_found": engine_info.isa_found,
            "processors": os.cpu_count(), "processors_available": threads_available(), "caches": caches(),
            "memory_bytes": memory_bytes(), "kernel": platform.release(), "system": platform.freedesktop_os_release().get(
                "PRETTY_NAME", platform.system()), "huge_pages": huge_pages(), "attentile": library_version,
            "versions": versions(), "python": sys.version.split()[0]}


def huge_pages():
    try:
        words = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return "unknown"
    return words.split("[")[1].split("]")[0]
