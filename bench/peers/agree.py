# SPDX-License-Identifier: Apache-2.0
"""Whether contenders compute the same function: each output against a float64 reference, value by value, with a tolerance
derived from the magnitudes that went into the value (tests/lib/rounding.py)."""
import dataclasses
import math

import numpy as np
import torch

from peers import machine, models

# Contenders sum in orders of their own and have shorter exponentials: this many times the tolerance of the tests.
SLACK = 8
COPIES = 12          # matrices of float64 that the reference holds at once
MEMORY_SHARE = 0.25  # of the machine's memory, at most, for them
RELATIVE = 64 * 2.0**-24 # of the largest value, where there is no float64 reference


@dataclasses.dataclass
class Reference:
    """Outputs (y and perhaps the map) of the first and the last sample, and the tolerance of each value."""
    what: str
    values: list
    tolerances: list


def ends(array):
    """The first and the last sample."""
    return array[:1] if len(array) == 1 else array[[0, -1]]


def affordable(case):
    per_sample = case.map_bytes() / case.row.batch
    return COPIES * 2 * per_sample * min(2, case.row.batch) <= MEMORY_SHARE * machine.memory_bytes()


def float64_reference(case):
    module = models.doubled(case.module)
    inputs = [ends(case.x).double()]
    more = {}
    if case.mask is not None:
        more["mask"] = case.mask
    with torch.inference_mode():
        found = [t for t in module(*inputs, **more) if t is not None][:2 if case.with_map else 1]
    return Reference("float64", [t.value.numpy() for t in found],
                     [(SLACK * t.error + 2.0**-149).numpy() for t in found])


def own_reference(outputs):
    """What Attentile computed, where float64 would not fit."""
    values = [ends(out).astype(np.float64) for out in outputs]
    return Reference("attentile", values, [np.full_like(v, RELATIVE * np.abs(v).max()) for v in values])


def compare(reference, outputs):
    """(largest difference, largest share of a tolerance); infinite where shapes differ or something is NaN."""
    difference = share = 0.0
    for value, tolerance, out in zip(reference.values, reference.tolerances, outputs):
        got = ends(out).astype(np.float64)
        if got.shape != value.shape:
            return math.inf, math.inf
        gap = np.abs(got - value)
        if not np.isfinite(gap).all():
            return math.inf, math.inf
        difference, share = max(difference, float(gap.max())), max(share, float((gap / tolerance).max()))
    return difference, share
