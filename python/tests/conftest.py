# SPDX-License-Identifier: Apache-2.0
"""What the tests share: an engine, and small layers with random weights."""
import pathlib

import numpy
import pytest

import attentile

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def engine():
    with attentile.Engine(threads=2) as engine:
        yield engine


@pytest.fixture
def rng():
    return numpy.random.default_rng(1)


@pytest.fixture
def floats(rng):
    """Makes random float32 arrays: floats(2, 3)."""
    return lambda *shape: rng.standard_normal(shape).astype(numpy.float32)


@pytest.fixture
def se_weights(floats):
    """Of 6 channels."""
    return {"fc.0.weight": floats(2, 6), "fc.2.weight": floats(6, 2)}


@pytest.fixture
def se(se_weights):
    return attentile.Layer("se", se_weights)


@pytest.fixture
def heads(floats):
    """Of 8 features and 2 heads."""
    return attentile.Layer("multi-head", {f"{name}.weight": floats(8, 8) for name in ("Wq", "Wk", "Wv", "fc")},
                           num_heads=2)


@pytest.fixture
def spatial(floats):
    """Self-attention over positions, of 6 channels."""
    return attentile.Layer("auto", {"query_conv.weight": floats(2, 6, 1, 1), "key_conv.weight": floats(2, 6, 1, 1),
                                    "value_conv.weight": floats(6, 6, 1, 1), "gamma": floats(1)})
