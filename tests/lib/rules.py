# SPDX-License-Identifier: Apache-2.0
"""Verdicts of scripts that look at many things: a line per rule."""
broken = []


def rule(text, looked_at, faults):
    """Prints the verdict of one rule: `looked_at` things checked, `faults` found. Nothing to check is a fault."""
    faults = sorted(set(faults)) if looked_at else ["found nothing to check"]
    broken.extend([text] if faults else [])
    print(("FAIL " if faults else "ok   ") + text + "".join(f"\n       {fault}" for fault in faults))
