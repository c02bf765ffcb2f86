# SPDX-License-Identifier: Apache-2.0
"""Plots of a record, as SVG that stands in a page."""
import io
import re

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "attentile", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False, "figure.constrained_layout.use": True, "legend.frameon": False})

from matplotlib import pyplot # noqa: E402

from peers import report, results # noqa: E402

OURS_COLOUR, PEER_COLOUR, TARGET_COLOUR = "#0b6e4f", "#9aa5b1", "#c1121f"
LIBRARY_COLOURS = {"attentile": OURS_COLOUR, "torch": "#ee6c4d", "onnxruntime": "#3d5a80", "openvino": "#7b2cbf"}


def svg(figure):
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.S)


def figures(record):
    """{title: SVG} of what the record has."""
    found = {}
    if record.get("rows"):
        found["Fastest peer / Attentile"] = svg(ratio_figure(record, targets=True))
        found["Roofline"] = svg(roofline_figure(record))
    if record.get("sweep"):
        found["Self-attention over positions: time against N"] = svg(sweep_figure(
            record, "min_s", "seconds", exponent=2))
        found["Self-attention over positions: memory against N"] = svg(sweep_figure(
            record, "peak_bytes", "peak bytes over input and output", exponent=1))
    return found


def save_ratios(record, path):
    """In the words of README.md, for a reader who knows nothing of targets."""
    ratio_figure(record, targets=False).savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close()


def ratio_figure(record, targets):
    """A bar a row, best first."""
    found = [(row, results.verdict(row, record["options"])) for row in record["rows"]]
    found = sorted((pair for pair in found if pair[1]["ratio"]), key=lambda pair: pair[1]["ratio"])
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.27 * len(found)))
    places = range(len(found))
    aims = [(verdict["target"], place) for place, (_, verdict) in enumerate(found) if targets and verdict["target"]]
    axes.barh(places, [v["ratio"] for _, v in found], color=OURS_COLOUR)
    axes.set_yticks(places, [row["name"] if targets else report.title(row) for row, _ in found])
    for place, (row, verdict) in enumerate(found):
        peer = results.fastest_peer(row)
        words = f"{verdict['ratio']:.2f}× {peer['name'] if targets else report.LIBRARIES[peer['library']]}"
        axes.text(0.02, place, words, va="center", fontsize=7, color="white")
    if aims:
        axes.vlines([target for target, _ in aims], [place - 0.4 for _, place in aims], [place + 0.4 for _, place in aims],
                    color=TARGET_COLOUR, linewidth=1.5, label="target")
        axes.legend(loc="lower right")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, 1.05 * max([v["ratio"] for _, v in found] + [target for target, _ in aims] + [1]))
    axes.set_xlabel("time of the fastest peer / time of Attentile")
    return figure


def roofline_figure(record):
    """GFLOP/s against FLOPs a byte of least traffic, below the machine's roof."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    bounds = [row["bound"] for row in record["rows"]]
    peak, stream = max(b["fma_gflops"] for b in bounds), min(b["stream_gbs"] for b in bounds)
    intensities = [b["flops"] / b["bytes"] for b in bounds]
    span = [min(intensities) / 2, max(intensities) * 2]
    knots = sorted(span + [peak / stream])
    axes.plot(knots, [min(peak, stream * x) for x in knots], color="black", linewidth=1,
              label=f"{peak:.0f} GFLOP/s, {stream:.0f} GB/s from memory")
    for chosen, colour, marker, label in ((results.ours, OURS_COLOUR, "o", "Attentile"),
                                          (results.fastest_peer, PEER_COLOUR, "v", "fastest peer")):
        points = [(row["bound"]["flops"] / row["bound"]["bytes"], row["bound"]["flops"] / chosen(row)["min_s"] / 1e9)
                  for row in record["rows"] if chosen(row)]
        if points:
            axes.scatter(*zip(*points), color=colour, marker=marker, s=22, label=label, zorder=3)
    axes.set(xscale="log", yscale="log", xlabel="least FLOPs / least bytes",
             ylabel="least FLOPs / time, GFLOP/s (what the caches hold may lie above the slope)")
    axes.legend()
    return figure


def sweep_figure(record, key, label, exponent):
    """One line a contender, and the slope of N or N²."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    lines = {}
    for row in record["sweep"]:
        for contender in row["contenders"]:
            if results.fine(contender) and contender.get(key):
                line = lines.setdefault(contender["name"], (contender["library"], [], []))
                line[1].append(row["positions"])
                line[2].append(contender[key])
    for name, (library, sizes, values) in lines.items():
        own = name == results.OURS
        axes.plot(sizes, values, marker="o", markersize=3, color=LIBRARY_COLOURS[library], label=name,
                  linewidth=2.2 if own else 0.9, linestyle="-" if "-" not in name else "--", zorder=3 if own else 2)
    if results.OURS in lines:
        _, sizes, values = lines[results.OURS]
        slope = [values[-1] * (size / sizes[-1])**exponent for size in sizes]
        axes.plot(sizes, slope, color="black", linewidth=0.7, linestyle=":", label="N²" if exponent == 2 else "N")
    axes.set(xscale="log", yscale="log", xlabel="positions N", ylabel=label)
    axes.set_xticks([row["positions"] for row in record["sweep"]], [f"{row['positions']:,}" for row in record["sweep"]])
    axes.minorticks_off()
    axes.legend(fontsize=7)
    return figure
