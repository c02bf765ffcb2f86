# SPDX-License-Identifier: Apache-2.0
"""A record as one HTML page that needs nothing else. The plots come as SVG (peers.plots)."""
import html

from peers import report, results

STYLE = """body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #1b1f24 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .15em .7em; text-align: right; border-bottom: 1px solid #e3e6ea }
td:first-child, th:first-child { text-align: left } tr.ours { font-weight: 600 }
.missed { color: #c1121f } .reached { color: #0b6e4f }
svg { max-width: 100%; height: auto } details { margin: .3em 0 } summary { cursor: pointer } h2 { margin-top: 2em }"""


def cells(values, tag="td", attributes=""):
    return f"<tr{attributes}>" + "".join(f"<{tag}>{value}</{tag}>" for value in values) + "</tr>"


def table(head, lines):
    return "<table>" + cells(map(html.escape, head), "th") + "".join(lines) + "</table>"


def text_cells(values, attributes=""):
    return cells((html.escape(str(value)) for value in values), attributes=attributes)


def machine_table(record):
    found, options = record["fingerprint"], record["options"]
    caches = ", ".join(f"{name} {report.memory_text(size)}" for name, size in found["caches"].items())
    lines = [("processor", found["cpu"]), ("instruction set", found["isa"]),
             ("processors", f"{found['processors_available']} of {found['processors']}"), ("threads", options["threads"]),
             ("caches", caches), ("memory", report.memory_text(found["memory_bytes"])),
             ("system", f"{found['system']}, Linux {found['kernel']}, transparent huge pages: {found['huge_pages']}"),
             ("allocator", "the system's" if options.get("system_malloc") else "told to keep memory"),
             ("Attentile", found["attentile"])]
    lines += list(found["versions"].items())
    return "<table>" + "".join(text_cells(line) for line in lines) + "</table>"


def summary_line(row, options):
    found, own = results.verdict(row, options), results.ours(row)
    peer = results.fastest_peer(row, results.demands(options)[1])
    word = {True: "reached", False: "missed", None: ""}[found["passed"]]
    target = f"<span class='{word}'>{html.escape(report.target_text(found))}</span>"
    values = [html.escape(text) for text in (
        row["name"], report.time_text(own and own["min_s"]), peer["name"] if peer else "–",
        report.time_text(peer and peer["min_s"]), report.times(found["ratio"]), report.percent(found["share"]))]
    return cells(values + [target])


def contender_line(contender):
    ours = " class='ours'" if contender["name"] == results.OURS else ""
    if not results.fine(contender):
        return text_cells([contender["name"], contender["status"], contender["message"], "", ""], ours)
    return text_cells([contender["name"], report.time_text(contender["min_s"]), report.time_text(contender["median_s"]),
                       report.memory_text(contender.get("peak_bytes")), f"{contender.get('difference', 0):.2g}"], ours)


def row_details(row):
    head = ("contender", "min", "median", "peak memory", "largest difference")
    shape = f"{row['kind']}, {report.shape_text(row)}"
    return (f"<details><summary>{html.escape(row['name'])} ({html.escape(shape)})</summary>" +
            table(head, map(contender_line, row["contenders"])) + "</details>")


def rows_section(title, rows, options):
    if not rows:
        return ""
    head = ("row", "Attentile", "fastest peer", "its time", "ratio", "of the bound", "target")
    mean = results.mean_ratio(rows, options)
    text = f"<p>Geometric mean of the rows with a target: <b>{report.times(mean)}</b></p>" if mean else ""
    return (f"<h2>{html.escape(title)}</h2>" + table(head, (summary_line(row, options) for row in rows)) + text +
            "".join(map(row_details, rows)))


def masks_section(entries):
    parts = []
    for entry in entries:
        lines = [text_cells([name, report.time_text(cost["min_s"]), report.time_text(cost["median_s"]),
                             report.times(results.mask_cost(entry, name))]) for name, cost in entry["calls"].items()]
        parts.append(f"<h3>{html.escape(entry['name'])}</h3>" + table(("call", "min", "median", "of its unmasked time"), lines))
    return "<h2>Masks</h2>" + "".join(parts) if parts else ""


def scaling_section(entries):
    lines = [text_cells([e["name"], report.time_text(e["one_s"]), report.time_text(e["all_s"]),
                         report.times(e["one_s"] / e["all_s"]), f"{report.times(e['machine'])} ({e['limit']})",
                         report.percent(results.scaling_share(e))]) for e in entries]
    head = ("row", "one thread", "all", "faster by", "the machine", "share")
    return "<h2>Scaling</h2>" + table(head, lines) if lines else ""


def render(record, figures):
    """`figures` maps titles to SVG."""
    options = record["options"]
    plots = "".join(f"<h2>{html.escape(title)}</h2>{svg}" for title, svg in figures.items())
    parts = [rows_section("Rows", record.get("rows"), options), plots]
    parts += [rows_section(title, record.get(name), report.section_options(name, options)) for name, title in (
        ("maps", "With the attention map requested"), ("sweep", "Against N"))]
    parts += [masks_section(record.get("masks", ())), scaling_section(record.get("scaling", ())),
              "<h2>Machine</h2>", machine_table(record)]
    return (f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Attentile and its peers</title><style>{STYLE}</style>"
            f"<h1>Attentile and its peers</h1><p>{html.escape(report.sentence(record))}</p>{''.join(parts)}</html>\n")
