# SPDX-License-Identifier: Apache-2.0
"""What is measured besides the rows: masks, maps, scaling, time and memory against N."""
import dataclasses
import re

import numpy as np
import torch
from torch.nn import functional

from peers import child, contenders, machine, results, timing
from peers.contenders import Case
from peers.rows import GROWTH, read

# (batch, heads, positions, head dimension) of attention alone, where masks show undiluted; and layers.
MASK_CORES = ((4, 12, 512, 64), (1, 16, 4096, 64))
MASK_ROWS = ("mha-8x197x768", "mha-4x512x768")
MASKS = ("none", "padding", "causal", "additive")
SWEEP_KIND = "self-attention-spatial"
LARGEST_PEER = 65536 # positions; beyond them Attentile is alone
OWN = re.compile(f"^{results.OURS}$")


# ---------------------------------------------------------------- masks


def padding_mask(batch, keys):
    """[batch, 1, 1, keys], true = visible: samples between half and all of the longest one."""
    lengths = torch.linspace(keys // 2, keys, batch).round().long()
    return (torch.arange(keys) < lengths[:, None])[:, None, None, :]


def masks_for(batch, length):
    """{name: (mask or None, causal)}. The additive one is a bias by distance, as models with relative positions have it."""
    places = torch.arange(length, dtype=torch.float32)
    distance = -0.01 * (places[:, None] - places[None, :]).abs()
    return {"none": (None, False), "padding": (padding_mask(batch, length), False), "causal": (None, True),
            "additive": (distance[None, None], False)}


def core_calls(shape, engine):
    """{(library, mask name): (call, output)} of attention alone."""
    import attentile

    q, k, v = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    arrays, calls = [t.numpy() for t in (q, k, v)], {}
    for name, (mask, causal) in masks_for(shape[0], shape[2]).items():
        out, more = np.zeros(shape, np.float32), {}
        if mask is not None:
            more["additive" if mask.is_floating_point() else "mask"] = mask.numpy()

        def own(out=out, more=more, causal=causal):
            return attentile.attention(*arrays, causal=causal, out=out, engine=engine, **more)

        def fused(mask=mask, causal=causal):
            return functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)

        calls[results.OURS, name], calls["sdpa", name] = own, fused
    return calls


def layer_calls(row, engine, threads):
    """Likewise of a multi-head layer."""
    calls = {}
    for name, (mask, causal) in masks_for(row.batch, row.shape[0]).items():
        case = Case.of(dataclasses.replace(row, settings={**row.settings, **({"causal": "true"} if causal else {})}), threads,
                       mask=mask)
        for library, ready in ((results.OURS, contenders.prepare_attentile(case, engine)),
                               ("sdpa", contenders.prepare_torch(case, "sdpa"))):
            calls[library, name] = returning(ready)
    return calls


def returning(ready):
    def call():
        ready.call()
        return ready.outputs()[0]

    return call


def largest_difference(calls):
    """Between the two libraries, over all masks."""
    with torch.inference_mode():
        return max(float(np.abs(np.asarray(calls[results.OURS, name]()) - np.asarray(calls["sdpa", name]())).max())
                   for name in MASKS)


def mask_entry(name, calls, rounds):
    difference = largest_difference(calls)
    with torch.inference_mode():
        times = timing.interleave({" ".join(key): call for key, call in calls.items()}, rounds)
    return {"name": name, "difference": difference,
            "calls": {key: t.record() for key, t in times.items()}}


def masks(context):
    for shape in MASK_CORES:
        name = "attention " + "x".join(map(str, shape))
        context.say(name)
        yield mask_entry(name, core_calls(shape, context.engine), context.rounds)
    for name in MASK_ROWS:
        context.say(name)
        yield mask_entry(name, layer_calls(context.row(name), context.engine, context.threads), context.rounds)


# ---------------------------------------------------------------- maps


def maps(context):
    """Rows with the map requested, and what Attentile needs beside its outputs."""
    for name in results.MAP_ROWS:
        record = context.measure(context.row(name), with_map=True)
        own = results.ours(record)
        found = child.run(Case.of(context.row(name), context.threads, with_map=True), results.OURS, rounds=0)
        if own and found["status"] == "ok":
            own["peak_bytes"] = found["peak_bytes"]
        yield record


# ---------------------------------------------------------------- scaling


def scaling_rows(context):
    """Those with a target, and those of one sample and one head; none that run on the caller alone."""
    single = re.compile(r"-1x|^sas-1|-h1")
    return [row for row in context.all_rows if (row.name in results.TARGETS or single.search(row.name)) and
            row.name not in results.SMALL and row.batch * row.positions * row.shape[0] >= 100_000]


def scaling(context):
    import attentile

    one = attentile.Engine(threads=1)
    for row in context.chosen_rows or scaling_rows(context):
        context.say(row.name)
        cases = {1: Case.of(row, 1), context.threads: Case.of(row, context.threads)}
        calls = {1: contenders.prepare_attentile(cases[1], one),
                 context.threads: contenders.prepare_attentile(cases[context.threads], context.engine)}
        info = contenders.plan_of(cases[1], one).info
        probes = {threads: machine.Probe(one.info.isa, threads, info.bytes * row.batch) for threads in calls}

        def measure_machine():
            for probe in probes.values():
                probe.measure()

        times = timing.interleave({threads: ready.call for threads, ready in calls.items()}, context.rounds,
                                  measure_machine)
        rates = {threads: probe.rates for threads, probe in probes.items()}
        yield scaling_entry(row, info, times, rates, context.threads)


def scaling_entry(row, info, times, rates, threads):
    """The machine's scaling is that of whatever bounds the row when all threads run."""
    bound = {**rates[threads], "flops": info.flops * row.batch, "exps": info.exps * row.batch,
             "bytes": info.bytes * row.batch}
    computes = results.compute_seconds(bound) >= results.stream_seconds(bound)
    key = "fma_gflops" if computes else "stream_gbs"
    return {"name": row.name, "one_s": times[1].best, "all_s": times[threads].best,
            "limit": "multiply-adds" if computes else "stream", "machine": rates[threads][key] / rates[1][key]}


# ---------------------------------------------------------------- time and memory against N


def sweep(context):
    for row in read(GROWTH):
        alone = row.positions > LARGEST_PEER
        if row.kind != SWEEP_KIND or (alone and not context.beyond):
            continue
        record = context.measure(row, pattern=OWN if alone else None)
        add_peaks(record, row, context)
        yield record


def add_peaks(record, row, context):
    """Peak memory of those that run, each in a process of its own."""
    case = Case.of(row, context.threads)
    for contender in record["contenders"]:
        if not results.fine(contender):
            continue
        context.say(f"{row.name}: memory of {contender['name']}")
        found = child.run(case, contender["name"], rounds=0)
        if found["status"] == "ok":
            contender["peak_bytes"] = found["peak_bytes"]
        else:
            contender["peak_message"] = found["message"]
