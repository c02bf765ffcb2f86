# SPDX-License-Identifier: Apache-2.0
"""python -m peers: what bench/peers/compare runs in its virtual environment."""
import json
import os
import re
import sys
import warnings

from peers import child, isolate, machine, options as command_line, report, results, rows

class Context:
    """What the sections share."""

    def __init__(self, options, threads):
        import attentile # before PyTorch, see isolate.py
        import torch

        isolate.check()
        torch.set_num_threads(threads)
        self.options, self.threads, self.rounds, self.beyond = options, threads, options.rounds, options.beyond
        child.volunteer()
        self.engine = attentile.Engine(threads=threads)
        if self.engine.info.threads != threads:
            raise RuntimeError(f"threads: expected {threads}, got {self.engine.info.threads} from the system")
        self.fingerprint = machine.fingerprint(self.engine.info, attentile.__version__)
        self.all_rows = rows.read_all()
        self.chosen_rows = choose_rows(self.all_rows, options)

    def say(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def row(self, name):
        return next(row for row in self.all_rows if row.name == name)

    def measure(self, row, pattern=None, **more):
        from peers import measure

        if pattern is None and self.options.contenders:
            pattern = re.compile(f"^{results.OURS}$|{self.options.contenders.pattern}")
        return measure.measure_row(row, self.threads, self.engine, self.rounds, pattern, self.say, **more)


def choose_rows(everything, options):
    """None where neither --rows nor --small chooses."""
    if options.small:
        return [row for row in everything if row.name in results.SMALL]
    return [row for row in everything if options.rows.search(row.name)] if options.rows else None


def measured_rows(context):
    from peers import sections

    chosen = context.chosen_rows
    if chosen is None:
        chosen = [row for row in context.all_rows if row.name in results.TARGETS]
    for row in chosen:
        record = context.measure(row)
        if context.options.memory or context.options.all:
            sections.add_peaks(record, row, context)
        yield record


def section_of(name, context):
    if name == "rows":
        return measured_rows(context)
    from peers import sections

    return getattr(sections, name)(context)


def write_json(path, record):
    if path:
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        os.replace(temporary, path)


def run(options):
    """Measures, prints every entry as it is done, and keeps the file up to date."""
    threads = options.threads or machine.threads_available()
    context = Context(options, threads)
    record = {"fingerprint": context.fingerprint, "options": {
        "threads": threads, "isa": options.isa, "rounds": options.rounds, "system_malloc": options.system_malloc}}
    for name in command_line.sections(options):
        record[name] = []
        for entry in section_of(name, context):
            record[name].append(entry)
            context.say("")
            print(report.entry_text(name, entry, record["options"]), flush=True)
            write_json(options.json, record)
    return record


def draw(options, record):
    if options.html or options.picture:
        from peers import page, plots

        if options.html:
            options.html.write_text(page.render(record, plots.figures(record)))
        if options.picture:
            plots.save_ratios(record, options.picture)


def check(options):
    """What a run needs, before it takes its time."""
    threads = machine.threads_available()
    if options.threads and options.threads > threads:
        raise ValueError(f"--threads: expected at most {threads}, the processors available, got {options.threads}")
    if choose_rows(rows.read_all(), options) == []:
        raise ValueError("--rows: no row matches (see --list)")
    for path in (options.json, options.html, options.picture):
        if path and not path.absolute().parent.is_dir():
            raise ValueError(f"{path}: there is no such folder")


def main():
    options = command_line.parse(sys.argv[1:])
    warnings.simplefilter("ignore")
    try:
        check(options)
        record = report.load(options.source) if options.source else run(options)
        if record.get("rows") and not options.source:
            print("\n" + report.summary(record))
        draw(options, record)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
