# SPDX-License-Identifier: Apache-2.0
"""Every golden case through the package: what PyTorch made of small layers."""
import json

import numpy
import pytest

import attentile
from conftest import ROOT

CASES = sorted(path.parent for path in (ROOT / "tests/golden").glob("*/case.json"))


def test_all_kinds_have_cases():
    kinds = {attentile.Layer.load(case / "weights.safetensors").kind for case in CASES
             if not json.loads((case / "case.json").read_text()).get("rename")
             and not json.loads((case / "case.json").read_text()).get("prefix")}
    assert kinds == set(attentile.kinds())
    assert len(kinds) == 9


def arrays(case):
    names = ("input", "expected", "expected_map", "key", "value", "mask")
    return {name: numpy.load(case / f"{name}.npy") for name in names if (case / f"{name}.npy").exists()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, engine):
    options, a = json.loads((case / "case.json").read_text()), arrays(case)
    layer = attentile.Layer.load(case / "weights.safetensors", options["layer"] or None, options.get("prefix", ""),
                                 dict(one.split("=") for one in options.get("rename", [])), **options["set"])
    plan = engine.plan(layer, a["input"].shape, key_length=a["key"].shape[1] if "key" in a else None)
    result = plan.run(a["input"], key=a.get("key"), value=a.get("value"), mask=a.get("mask"),
                      map="expected_map" in a, map_rows=options.get("map_rows"))
    y, weights = result if "expected_map" in a else (result, None)
    assert y.dtype == numpy.float32 and y.shape == a["expected"].shape
    numpy.testing.assert_allclose(y, a["expected"], options["rtol"], options["atol"])
    if weights is not None:
        assert weights.shape == a["expected_map"].shape
        numpy.testing.assert_allclose(weights, a["expected_map"], options["map_rtol"], options["map_atol"])
