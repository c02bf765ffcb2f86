# SPDX-License-Identifier: Apache-2.0
"""One row: everyone made ready, compared, and timed in turns; those that need much memory in children of their own."""
import gc

import torch

from peers import agree, child, machine, timing
from peers.contenders import Case, chosen, plan_of, prepare_attentile
from peers.results import OURS


def failed(contender, status, message):
    return {"name": contender.name, "library": contender.library, "status": status, "message": message}


def make_ready(contender, case):
    """(Ready, None), or (None, the record of a failure)."""
    try:
        timing.settle()
        ready = contender.prepare(case)
        ready.call()
        return ready, None
    except Exception as error: # whatever a library raises, it is a result
        return None, failed(contender, *child.fate_of(error))


class Measurement:
    """Of one case. `say` receives a line about whatever takes time."""

    def __init__(self, case, engine, rounds=None, pattern=None, say=lambda text: None):
        self.case, self.engine, self.rounds, self.say = case, engine, rounds, say
        self.records, self.ready, self.reference = {}, {}, None
        self.plan_info = plan_of(case, engine).info
        self.probe = machine.Probe(engine.info.isa, engine.info.threads, self.plan_info.bytes * case.row.batch)
        everyone = chosen(case, pattern)
        self.names = [c.name for c in everyone]
        large = [c for c in everyone if c.predicted_bytes(case) > machine.memory_bytes() / 2]
        self.inside = [c for c in everyone if c not in large]
        self.outside = large

    def prepare(self, contender):
        self.say(f"{self.case.row.name}: {contender.name}")
        if contender.name == OURS:
            ready, failure = prepare_attentile(self.case, self.engine), None
            ready.call()
        else:
            ready, failure = make_ready(contender, self.case)
        if failure:
            self.records[contender.name] = failure
            return
        self.accept(contender, ready.outputs(), ready)

    def accept(self, contender, outputs, ready=None):
        """Compares the outputs; those that agree are timed."""
        if self.reference is None: # ours comes first
            fits = agree.affordable(self.case)
            self.reference = agree.float64_reference(self.case) if fits else agree.own_reference(outputs)
        difference, share = agree.compare(self.reference, outputs)
        record = {"name": contender.name, "library": contender.library, "status": "ok", "difference": difference,
                  "tolerance_share": share}
        if not share <= 1:
            record.update(status="disagrees", message=f"differs by up to {difference:.3g}, {share:.3g} of the tolerance",
                          difference=min(difference, 1e300), tolerance_share=min(share, 1e300))
        elif ready:
            self.ready[contender.name] = ready
        self.records[contender.name] = record

    def run_inside(self):
        calls = {name: ready.call for name, ready in self.ready.items()}
        times = timing.interleave(calls, self.rounds, self.probe.measure)
        for name, taken in times.items():
            if taken.error:
                self.records[name].update(zip(("status", "message"), child.fate_of(taken.error)))
            else:
                self.records[name].update(taken.record())

    def run_outside(self, contender):
        self.say(f"{self.case.row.name}: {contender.name} in a process of its own")
        found = child.run(self.case, contender.name, self.rounds, wants_outputs=True)
        if found["status"] != "ok":
            self.records[contender.name] = failed(contender, found["status"], found["message"])
            return
        self.accept(contender, found.pop("outputs"))
        if self.records[contender.name]["status"] == "ok":
            self.records[contender.name].update(found)

    def run(self):
        """The row's record."""
        with torch.inference_mode():
            for contender in self.inside:
                self.prepare(contender)
            self.say(f"{self.case.row.name}: timing")
            self.run_inside()
            self.ready = {}
            gc.collect()
            torch._dynamo.reset()
        for contender in self.outside:
            self.run_outside(contender)
        return self.record()

    def record(self):
        row, info = self.case.row, self.plan_info
        bound = {"flops": info.flops * row.batch, "exps": info.exps * row.batch, "bytes": info.bytes * row.batch,
                 **self.probe.rates}
        return {"kind": row.kind, "name": row.name, "batch": row.batch, "shape": list(row.shape), "widths": row.widths,
                "settings": row.settings, "positions": row.positions, "bound": bound,
                "reference": self.reference.what if self.reference else None,
                "contenders": [self.records[name] for name in self.names if name in self.records]}


def measure_row(row, threads, engine, rounds=None, pattern=None, say=lambda text: None, **more):
    return Measurement(Case.of(row, threads, **more), engine, rounds, pattern, say).run()
