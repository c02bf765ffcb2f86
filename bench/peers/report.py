# SPDX-License-Identifier: Apache-2.0
"""Records as text: tables for the terminal, words for others. Needs no package."""
import json

from peers import results

WHAT = { # the kinds, as people call them
    "se": "squeeze-and-excitation",
    "cbam-channel": "CBAM, channels",
    "cbam-spatial": "CBAM, positions",
    "cbam-res": "CBAM residual block",
    "sk": "selective kernels",
    "self-attention-spatial": "self-attention over positions",
    "self-attention-channel": "self-attention over channels",
    "non-local": "non-local block",
    "multi-head": "multi-head attention",
}
LIBRARIES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def load(path):
    record = json.loads(path.read_text())
    if not isinstance(record, dict) or "fingerprint" not in record:
        raise ValueError(f"{path}: expected what compare --json writes")
    return record


def time_text(seconds):
    """Three digits, in the unit that suits."""
    if seconds is None:
        return "–"
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size or unit == "µs":
            value = seconds / size
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"


def memory_text(size):
    if size is None:
        return ""
    unit, scale = ("GiB", 2**30) if size >= 2**30 else ("MiB", 2**20) if size >= 2**20 else ("KiB", 2**10)
    return f"{size / scale:.1f} {unit}"


def percent(share):
    return "–" if share is None else f"{100 * share:.0f} %"


def times(value):
    return "–" if value is None else f"{value:.2f}×"


def row_list(rows, targets):
    lines = [f"{'row':32} {'kind':24} target"]
    for row in rows:
        target = targets.get(row.name)
        lines.append(f"{row.name:32} {row.kind:24} {f'{target:g}' if target else ''}".rstrip())
    return "\n".join(lines)


def verdict_text(found):
    if found["passed"] is None:
        return ""
    text = f"target {found['target']:g}: {'reached' if found['passed'] else 'missed'}"
    if found["why"] == "bound":
        text += f" (the bound allows {found['allowed']:.2f}×, so {100 * results.ENOUGH_OF_BOUND:.0f} % of it count)"
    if found["why"] == "peak":
        text += f" (less than {100 * results.AVX2_PEAK_SHARE:.0f} % of the multiply-add peak)"
    return text


def contender_line(contender):
    head = f"    {contender['name']:24}"
    if not results.fine(contender):
        return f"{head} {contender['status']}: {contender['message']}"
    share = f"largest difference {contender['difference']:.2g}" if "difference" in contender else ""
    memory = memory_text(contender.get("peak_bytes"))
    return f"{head} {time_text(contender['min_s']):>9} {time_text(contender['median_s']):>9}  {memory:>9}  {share}".rstrip()


def row_text(row, options):
    """Every contender of a row, and what follows."""
    found = results.verdict(row, options)
    peer = results.fastest_peer(row, results.demands(options)[1])
    bound = row["bound"]
    lines = [f"{row['name']} ({row['kind']}, {row['batch']} x {'x'.join(map(str, row['shape']))}); compared with "
             f"{row['reference']}", f"    {'':24} {'min':>9} {'median':>9}"]
    lines += [contender_line(c) for c in row["contenders"]]
    lines.append(f"    bound {time_text(results.bound_seconds(bound))} ({bound['fma_gflops']:.0f} GFLOP/s, "
                 f"{bound['stream_gbs']:.0f} GB/s): {percent(found['share'])} of it")
    if peer and found["ratio"]:
        lines.append(f"    {peer['name']} / attentile = {times(found['ratio'])}  {verdict_text(found)}".rstrip())
    return "\n".join(lines)


def summary(record):
    """One line a row, and the mean."""
    rows, options = record["rows"], record["options"]
    lines = [f"{'row':28} {'ours':>9} {'fastest peer':>34} {'ratio':>7} {'bound':>6}  target"]
    for row in rows:
        found, own = results.verdict(row, options), results.ours(row)
        peer = results.fastest_peer(row, results.demands(options)[1])
        other = f"{peer['name']} {time_text(peer['min_s'])}" if peer else "–"
        lines.append(f"{row['name']:28} {time_text(own and own['min_s']):>9} {other:>34} {times(found['ratio']):>7} "
                     f"{percent(found['share']):>6}  {target_text(found)}".rstrip())
    mean = results.mean_ratio(rows, options)
    if mean:
        full = options.get("isa") != "avx2" and options.get("threads") != 1
        target = f", target {results.MEAN_TARGET:g}" if full else ""
        lines.append(f"geometric mean of the rows with a target: {times(mean)}{target}")
    return "\n".join(lines)


def target_text(found):
    if found["passed"] is None:
        return ""
    return f"{found['target']:g} {'reached' if found['passed'] else 'missed'}{' by the bound' if found['why'] == 'bound' else ''}"


# ---------------------------------------------------------------- the other sections


def mask_text(entry):
    lines = [f"{entry['name']}; largest difference from PyTorch {entry['difference']:.2g}"]
    for name, cost in entry["calls"].items():
        lines.append(f"    {name:24} {time_text(cost['min_s']):>9} {time_text(cost['median_s']):>9}  "
                     f"{times(results.mask_cost(entry, name))} of its unmasked time")
    return "\n".join(lines)


def scaling_text(entry, threads):
    return (f"{entry['name']:28} {time_text(entry['one_s']):>9} -> {time_text(entry['all_s']):>9} with {threads} threads: "
            f"{times(entry['one_s'] / entry['all_s'])}, the machine {times(entry['machine'])} ({entry['limit']}): "
            f"{percent(results.scaling_share(entry))}")


def entry_text(section, entry, options):
    """Of one entry of a section."""
    if section == "masks":
        return mask_text(entry)
    if section == "scaling":
        return scaling_text(entry, options["threads"])
    return row_text(entry, section_options(section, options))


def section_options(section, options):
    """What demands() is to know."""
    return options if section == "rows" else {**options, "section": section}


def whole(record, sections):
    """Everything, and the summary."""
    parts = [entry_text(name, entry, record["options"]) for name in sections for entry in record.get(name, ())]
    return "\n".join(parts + (["", summary(record)] if record.get("rows") else []))


# ---------------------------------------------------------------- README.md


def sentence(record):
    found, options = record["fingerprint"], record["options"]
    peers = ", ".join(f"{name} {found['versions'][package].split('+')[0]}" for package, name in LIBRARIES.items()
                      if package in found["versions"])
    isa = found["isa"].upper().replace("AVX512", "AVX-512")
    return (f"{found['cpu']}, {isa}, {options['threads']} threads, float32; {peers}. Minima of interleaved rounds in one "
            "process. The bound is what the machine's multiply-add peak and bandwidth allow, measured in the same run.")


def shape_text(row):
    return f"{row['batch']}×{'×'.join(map(str, row['shape']))}"


def title(row):
    """The layer and its input."""
    return f"{WHAT[row['kind']]}, {shape_text(row)}"
