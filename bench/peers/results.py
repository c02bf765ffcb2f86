# SPDX-License-Identifier: Apache-2.0
"""What the recorded numbers say: ratios, shares of the bound, targets. Nothing here measures or needs a package.

A record is what --json writes: {"fingerprint": …, "options": …, "rows": [row, …], …}. A row holds its "bound" and its
"contenders", of which those whose "status" is "ok" have times.
"""
import math

OURS = "attentile"
ENOUGH_OF_BOUND = 0.88 # counts instead of a ratio ...
CLOSE_TO_BOUND = 1.1   # ... where the bound itself allows less than this times the target
AVX2_PEAK_SHARE = 0.8  # of rows bound by matrix products

# Fastest peer / ours: all cores, best instruction set.
TARGETS = {
    "se-32x256x56x56": 1.5,
    "se-32x2048x7x7": 1.2,
    "cbamc-32x512x28x28": 2.5,
    "cbams-k7-32x512x28x28": 2.0,
    "cbamr-8x64-128x56x56-s2": 1.4,
    "cbamr-8x128x28x28-s1": 1.15,
    "sk-g2-8x128x28x28": 1.35,
    "sk-g32-8x256x28x28": 3.0,
    "sas-4x64x64x64": 1.75,
    "sas-1x64x128x128": 1.5,
    "sas-1x64x256x256": 2.2,
    "sas-1x256x64x64": 1.15,
    "sac-2x512x64x64": 3.4,
    "nl-8x512x28x28": 1.3,
    "nl-2x1024x4x14x14": 1.6,
    "nl-1x512x8x28x28": 1.3,
    "mha-8x197x768": 1.07,
    "mha-4x512x768": 1.05,
    "mha-1x4096x1024": 1.1,
    "se-1x64x14x14": 3.0,
    "sas-1x64x16x16": 1.8,
    "nl-1x64x14x14": 1.5,
    "mha-1x64x64": 1.6,
}
SMALL = ("se-1x64x14x14", "sas-1x64x16x16", "nl-1x64x14x14", "mha-1x64x64")
MEAN_TARGET = 1.6
MATRIX_BOUND = ("sas-1x256x64x64", "sac-2x512x64x64", "nl-8x512x28x28", "nl-2x1024x4x14x14", "nl-1x512x8x28x28",
                "mha-8x197x768", "mha-4x512x768", "mha-1x4096x1024")

MAP_TARGET = 1.5
# Rows whose map is requested: of all kinds that have one, as large as others still hold theirs.
MAP_ROWS = ("sas-4x64x64x64", "sas-1x256x64x64", "sac-2x512x64x64", "nl-8x512x28x28", "nl-2x1024x4x14x14", "mha-8x197x768",
            "mha-4x512x768")


def fine(contender):
    return contender["status"] == "ok"


def ours(row):
    return next((c for c in row["contenders"] if c["name"] == OURS and fine(c)), None)


def peers(row, libraries=None):
    return [c for c in row["contenders"] if c["name"] != OURS and fine(c) and
            (libraries is None or c["library"] in libraries)]


def fastest_peer(row, libraries=None):
    return min(peers(row, libraries), key=lambda c: c["min_s"], default=None)


def ratio(row, libraries=None):
    """Fastest peer / ours by minima; None where either is missing."""
    peer, own = fastest_peer(row, libraries), ours(row)
    return peer["min_s"] / own["min_s"] if peer and own else None


def compute_seconds(bound):
    """Multiply-adds, with what the exponentials cost in them, at the peak that this run measured."""
    return (bound["flops"] + bound["flops_per_exp"] * bound["exps"]) / (bound["fma_gflops"] * 1e9)


def stream_seconds(bound):
    return bound["bytes"] / (bound["stream_gbs"] * 1e9)


def bound_seconds(bound):
    """The least time for the work."""
    return max(compute_seconds(bound), stream_seconds(bound))


def bound_share(row):
    own = ours(row)
    return bound_seconds(row["bound"]) / own["min_s"] if own and row.get("bound") else None


def peak_share(row):
    """Of the multiply-add peak, exponentials left out."""
    own = ours(row)
    return row["bound"]["flops"] / own["min_s"] / (row["bound"]["fma_gflops"] * 1e9) if own and row.get("bound") else None


def demands(options):
    """(target by row name, the libraries that count, the least share of the peak by row name) of a record's options; those
    of other sections than the rows name it."""
    if options.get("section") == "maps":
        return {name: MAP_TARGET for name in MAP_ROWS}, None, {}
    if "section" in options:
        return {}, None, {}
    if options.get("isa") == "avx2":
        return {name: 1.0 for name in TARGETS}, ("torch",), {name: AVX2_PEAK_SHARE for name in MATRIX_BOUND}
    if options.get("threads") == 1:
        return {name: 1.0 for name in TARGETS}, None, {}
    return TARGETS, None, {}


def verdict(row, options):
    """{"target", "ratio", "share", "allowed", "passed", "why"}; passed is None without a target or without a ratio."""
    targets, libraries, peaks = demands(options)
    target, found, share = targets.get(row["name"]), ratio(row, libraries), bound_share(row)
    peer = fastest_peer(row, libraries)
    allowed = peer["min_s"] / bound_seconds(row["bound"]) if peer and row.get("bound") else None
    result = {"target": target, "ratio": found, "share": share, "allowed": allowed, "passed": None, "why": ""}
    if target is None or found is None:
        return result
    if found >= target:
        result.update(passed=True, why="ratio")
    elif allowed is not None and allowed < CLOSE_TO_BOUND * target:
        result.update(passed=share >= ENOUGH_OF_BOUND, why="bound")
    else:
        result.update(passed=False, why="ratio")
    if row["name"] in peaks and peak_share(row) is not None and peak_share(row) < peaks[row["name"]]:
        result.update(passed=False, why="peak")
    return result


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def mean_ratio(rows, options):
    """Over the rows that have a target."""
    found = (verdict(row, options) for row in rows)
    return geometric_mean(v["ratio"] for v in found if v["target"] is not None and v["ratio"] is not None)


def mask_cost(entry, name):
    """Time with a mask / without, of the same library; `name` is "LIBRARY MASK"."""
    return entry["calls"][name]["min_s"] / entry["calls"][name.split()[0] + " none"]["min_s"]


def scaling_share(entry):
    """How much of the machine's own scaling a layer has."""
    return entry["one_s"] / entry["all_s"] / entry["machine"]
