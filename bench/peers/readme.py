# SPDX-License-Identifier: Apache-2.0
"""The tables of README.md that are written from a record. Needs no package."""
from peers import report, results

RESULTS = "bench/results/peers" # .json, .html, .svg: what README.md shows
MATRIX_LEAST = 2**30 # bytes of an N×N matrix from which on growth is shown
END = "<!-- End of the table. -->"


def best(contender):
    """The library, time and peak memory of a contender."""
    memory = report.memory_text(contender.get("peak_bytes"))
    return f"{report.LIBRARIES[contender['library']]}, {report.time_text(contender['min_s'])}{memory and ', ' + memory}"


def ratios(record):
    lines = [f"![Fastest peer / Attentile, row by row]({RESULTS}.svg)", "", report.sentence(record), "",
             "| layer, input | Attentile | fastest peer | ratio | of the bound |", "|---|---|---|---|---|"]
    for row in record["rows"]:
        found, own, peer = results.verdict(row, record["options"]), results.ours(row), results.fastest_peer(row)
        if found["target"] is None or not own or not peer:
            continue
        lines.append(f"| {report.title(row)} | {report.time_text(own['min_s'])} | "
                     f"{report.LIBRARIES[peer['library']]}, {report.time_text(peer['min_s'])} | {report.times(found['ratio'])} | "
                     f"{report.percent(found['share'])} |")
    mean = results.mean_ratio(record["rows"], record["options"])
    return lines + [f"| geometric mean | | | {report.times(mean)} | |"] * bool(mean)


def growth(record):
    lines = ["| positions | Attentile | memory over input and output | fastest peer | the matrix would take |", "|---|---|---|---|---|"]
    for row in record.get("sweep", ()):
        own, peer, matrix = results.ours(row), results.fastest_peer(row), 4 * row["positions"] ** 2
        if own and matrix >= MATRIX_LEAST:
            lines.append(f"| {row['positions']:,} | {report.time_text(own['min_s'])} | {report.memory_text(own['peak_bytes'])} | "
                         f"{best(peer) if peer else '–'} | {report.memory_text(matrix)} |")
    return lines


TABLES = {"ratios": ratios, "growth": growth}


def begin(name):
    return f"<!-- Table of {name}, written by bench/peers/compare --from FILE --readme: -->"


def table(name, record):
    """The lines between the two markers; nothing where nothing was recorded."""
    return "\n".join(["", *TABLES[name](record), "", ""]) if record else ""


def split(text, name):
    """(before and with the first marker, between, the second marker and behind) of a table."""
    first = begin(name)
    start = text.find(first)
    end = text.find(END, start)
    if start < 0 or end < 0 or text.count(first) != 1:
        raise ValueError(f"README.md: expected the line {first!r} once, and {END!r} behind it")
    start += len(first) + 1
    return text[:start], text[start:end], text[end:]


def rewrite(path, record):
    text = path.read_text()
    for name in TABLES:
        before, _, behind = split(text, name)
        text = before + table(name, record) + behind
    path.write_text(text)
