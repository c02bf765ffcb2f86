# SPDX-License-Identifier: Apache-2.0
"""The command line of bench/peers/compare, and the environment that must be set before anything is imported."""
import argparse
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECTIONS = ("rows", "masks", "maps", "scaling", "sweep")

# Libraries read these when they are loaded.
AVX2 = {"ATTENTILE_MAX_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2"}
# PyTorch returns a new tensor from every call. By default glibc gives large ones back to the system, so that every call faults
# all pages of its output in anew, which costs up to five times the computation; like this it keeps them.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}

EPILOG = """Sections other than the rows: --masks, --maps, --scaling, --sweep; each takes the place of the rows, several may be
given, --all takes everything. Times hold on an otherwise idle machine only. Exit status: 0 measured (whatever the ratios
are), 1 something could not be measured, 2 wrong usage."""


def whole(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text}")
    return number


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def parser():
    made = argparse.ArgumentParser(prog="compare", epilog=EPILOG, description="Times Attentile's layers beside PyTorch's, "
                                   "ONNX Runtime's and OpenVINO's, in turns, in one process, at equal threads.")
    made.add_argument("--venv", type=pathlib.Path, default=ROOT / "build/peers-venv", metavar="DIR",
                      help="the virtual environment; made when missing (default build/peers-venv)")
    made.add_argument("--rows", type=pattern, metavar="REGEX",
                      help="rows of bench/shapes (default: those with a target, see --list)")
    made.add_argument("--small", action="store_true", help="the small rows with a target alone")
    made.add_argument("--list", action="store_true", help="list the rows and their targets, measure nothing")
    made.add_argument("--contenders", type=pattern, metavar="REGEX", help="beside Attentile (default: all)")
    made.add_argument("--threads", type=whole, metavar="T", help="of every contender (default: the processors available)")
    made.add_argument("--rounds", type=whole, metavar="N", help="turns of each contender (default 7; 3 of calls above 5 s)")
    made.add_argument("--isa", choices=["avx2"], help="caps Attentile and PyTorch alike; the others cannot be capped and "
                      "stay away")
    made.add_argument("--memory", action="store_true", help="peak memory too, of each contender in a process of its own")
    made.add_argument("--masks", action="store_true", help="what masks cost, beside PyTorch's fused attention")
    made.add_argument("--maps", action="store_true", help="layers with the attention map requested")
    made.add_argument("--scaling", action="store_true", help="one thread against all, beside the machine's own scaling")
    made.add_argument("--sweep", action="store_true", help="time and memory against N, to 65,536 positions")
    made.add_argument("--beyond", action="store_true", help="with --sweep: Attentile alone, on to 262,144")
    made.add_argument("--all", action="store_true", help="every section, with --memory")
    made.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write what was measured")
    made.add_argument("--html", type=pathlib.Path, metavar="FILE", help="write a page with tables and plots")
    made.add_argument("--picture", type=pathlib.Path, metavar="FILE", help="write the plot of the ratios (.svg, .png)")
    made.add_argument("--from", type=pathlib.Path, metavar="FILE", dest="source",
                      help="measure nothing: take what --json wrote")
    made.add_argument("--readme", action="store_true", help="with --from: rewrite the tables in README.md, and stop")
    made.add_argument("--system-malloc", action="store_true", help="leave the C library's allocator as it is: PyTorch then "
                      "pays for fresh pages in every call")
    return made


def parse(words):
    made = parser()
    options = made.parse_args(words)
    if options.readme and not options.source:
        made.error("--readme: needs --from FILE")
    if options.beyond and not (options.sweep or options.all):
        made.error("--beyond: needs --sweep")
    if options.small and options.rows:
        made.error("--small and --rows exclude each other")
    return options


def sections(options):
    named = [name for name in SECTIONS[1:] if getattr(options, name)]
    return list(SECTIONS) if options.all else named or ["rows"]


def environment(options, inherited):
    """Of the process that measures."""
    result = {**inherited, **({} if options.system_malloc else KEEP_MEMORY), **(AVX2 if options.isa == "avx2" else {})}
    folders = [str(ROOT / name) for name in ("bench", "tests", "python")]
    result["PYTHONPATH"] = os.pathsep.join(folders)
    result["PYTHONDONTWRITEBYTECODE"] = "1"
    # What torch.compile keeps depends on instruction set and threads, but it does not always look.
    kept = f"compiled-{options.isa or 'native'}-{options.threads or 'all'}"
    result["TORCHINDUCTOR_CACHE_DIR"] = str(options.venv.absolute() / kept)
    return result


def without_kept_memory(inherited):
    """For peaks: memory goes back to the system as usual."""
    return {name: value for name, value in inherited.items() if name not in KEEP_MEMORY}
