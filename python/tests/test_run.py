# SPDX-License-Identifier: Apache-2.0
"""Plans and their runs: batches, bound calls, maps, key, value, masks, overlap."""
import numpy
import pytest

import attentile


def test_the_batch_only_reserves(engine, se, floats):
    x = floats(7, 6, 5)
    want = numpy.concatenate([engine.plan(se, (1, 6, 5)).run(x[i:i + 1]) for i in range(7)])
    for reserved in (0, 1, 3, 20):
        assert numpy.array_equal(engine.plan(se, (reserved, 6, 5)).run(x), want)


def test_bound(engine, se, floats):
    x, y = floats(2, 6, 5), numpy.zeros((2, 6, 5), numpy.float32)
    plan = engine.plan(se, x.shape)
    call = plan.bind(x, out=y)
    assert call() is y and call.out is y and call.map is None
    assert numpy.array_equal(y, plan.run(x))
    x += 1
    call()
    assert numpy.array_equal(y, plan.run(x))


def test_bound_with_a_map(engine, spatial, floats):
    x, weights = floats(2, 6, 3, 2), numpy.zeros((2, 6, 6), numpy.float32)
    call = engine.plan(spatial, x.shape).bind(x, map=weights)
    y, got = call()
    assert got is weights is call.map and y is call.out
    numpy.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_maps(engine, spatial, floats):
    x = floats(2, 6, 3, 2)
    plan = engine.plan(spatial, x.shape)
    y, whole = plan.run(x, map=True)
    assert whole.shape == (2, 6, 6) == (2, *plan.info.map_shape)
    assert numpy.allclose(plan.run(x), y, atol=1e-5)
    for rows in ([4, 0, 4], (1,), range(2), numpy.array([5, 3], numpy.int32)):
        _, some = plan.run(x, map_rows=rows)
        assert numpy.array_equal(some, whole[:, list(rows)])
    wide = numpy.zeros((2, 7, 6), numpy.float32) # gaps between the maps of samples
    plan.run(x, map=wide[:, :6])
    assert numpy.array_equal(wide[:, :6], whole)
    assert plan.run(x, map=False).shape == x.shape


@pytest.mark.parametrize("more, text", [
    (dict(map_rows=[6]), r"map_rows\[0\]: out of range \(expected 0 to 5, got 6\)"),
    (dict(map_rows=[-1]), r"map_rows\[0\]: out of range"),
    (dict(map_rows=[]), "map_row_count: expected 1 or more, got 0"),
    (dict(map_rows=[0.5]), "map_rows: expected integers along one axis, got float64"),
    (dict(map_rows=[[1]]), "map_rows: expected integers along one axis"),
    (dict(map=False, map_rows=[1]), "map_rows: given without a map"),
    (dict(map=numpy.zeros((2, 6, 5), numpy.float32)), r"map: wrong shape \(expected \[2, 6, 6\], got \[2, 6, 5\]\)"),
    (dict(map=numpy.zeros((2, 6, 6))), r"map: wrong dtype \(expected float32, got float64\)"),
    (dict(key=numpy.zeros((2, 6, 6), numpy.float32)), "key: self-attention-spatial takes none"),
    (dict(mask=numpy.zeros((2, 6, 6), bool)), "mask: self-attention-spatial takes none"),
    (dict(out=numpy.zeros((2, 6, 3, 3), numpy.float32)),
     r"out: wrong shape \(expected \[2, 6, 3, 2\], got \[2, 6, 3, 3\]\)"),
])
def test_wrong_outputs(engine, spatial, floats, more, text):
    x = floats(2, 6, 3, 2)
    with pytest.raises(attentile.InvalidArgument, match=text):
        engine.plan(spatial, x.shape).run(x, **more)


def test_kinds_without_a_map(engine, se, floats):
    with pytest.raises(attentile.InvalidArgument, match="map: se has none"):
        engine.plan(se, (1, 6, 5)).run(floats(1, 6, 5), map=True)


def test_key_and_value(engine, heads, floats):
    x, key, value = floats(3, 4, 8), floats(3, 5, 8), floats(3, 5, 8)
    plan = engine.plan(heads, x.shape, key_length=5)
    assert plan.info.heads == 2 and plan.info.key_length == 5 and plan.info.map_shape == (2, 4, 5)
    y = plan.run(x, key=key, value=value)
    wide = numpy.zeros((3, 6, 8), numpy.float32)
    wide[:, :5] = key
    assert numpy.array_equal(plan.run(x, key=wide[:, :5], value=value), y)
    one = engine.plan(heads, x.shape, key_length=5).run(x[1:2], key=key[1:2], value=value[1:2])
    assert numpy.array_equal(one, y[1:2])
    with pytest.raises(attentile.InvalidArgument, match=r"key: wrong shape \(expected \[3, 5, 8\], got \[3, 4, 8\]\)"):
        plan.run(x, key=x, value=value)
    with pytest.raises(attentile.InvalidArgument, match="value of sample 0: x cannot stand in for it"):
        plan.run(x, key=key)


def test_masks(engine, heads, floats, rng):
    x, mask = floats(3, 4, 8), rng.random((3, 1, 4, 4)) < 0.7
    mask[..., 0] = True
    plan = engine.plan(heads, x.shape)
    y, weights = plan.run(x, mask=mask, map=True)
    assert (weights[~numpy.broadcast_to(mask, weights.shape)] == 0).all()
    additive = numpy.where(mask, 0, -numpy.inf).astype(numpy.float32)
    for same in (dict(mask=mask.view(numpy.uint8)), dict(mask=numpy.broadcast_to(mask, (3, 2, 4, 4))),
                 dict(additive=additive), dict(mask=mask, additive=numpy.zeros((), numpy.float32))):
        assert numpy.array_equal(plan.run(x, map=True, **same)[0], y)
    assert not numpy.allclose(plan.run(x), y)
    row = mask[0, 0, 1]
    assert numpy.array_equal(plan.run(x, mask=row), plan.run(x, mask=numpy.broadcast_to(row, (3, 2, 4, 4))))


@pytest.mark.parametrize("more, text", [
    (dict(mask=numpy.ones((4, 3), bool)),
     r"mask_shape: axis 1 does not broadcast to the keys \(expected 1 or 4, got 3\)"),
    (dict(mask=numpy.ones((4, 4))), r"mask: wrong dtype \(expected bool or uint8, got float64\)"),
    (dict(additive=numpy.ones((4, 4), bool)), r"additive: wrong dtype \(expected float32, got bool\)"),
    (dict(mask=numpy.ones((1, 1, 1, 1, 4), bool)), "mask: wrong shape .expected at most 4 axes, got "),
    (dict(mask=numpy.ones((4, 8), bool)[:, ::2]), "mask: strides"),
])
def test_wrong_masks(engine, heads, floats, more, text):
    with pytest.raises(attentile.InvalidArgument, match=text):
        engine.plan(heads, (1, 4, 8)).run(floats(1, 4, 8), **more)


def test_in_place(engine, se, floats):
    x = floats(2, 6, 5)
    plan = engine.plan(se, x.shape)
    want = plan.run(x)
    assert plan.info.in_place and plan.run(x, x) is x
    assert numpy.array_equal(x, want)
    memory = floats(3, 6, 5)
    with pytest.raises(attentile.InvalidArgument, match="y of sample 0 overlaps x of sample 1"):
        plan.run(memory[:2], memory[1:])


def test_plan_errors(engine, se):
    for shape, text in (((2, 5, 4), "6"), ((6,), r"shape: expected \[batch, C, ...\]"), ((-1, 6, 5), "reserve_batch"),
                        ((1, 6, 1 << 62), "bytes|represented"), ((1, 6, 1 << 64), "shape: out of range .*64 bits")):
        with pytest.raises(attentile.Error, match=text):
            engine.plan(se, shape)
    with pytest.raises(attentile.InvalidArgument, match="key_length"):
        engine.plan(se, (1, 6, 5), key_length=3)


def test_info(engine, spatial, heads):
    plan = engine.plan(spatial, (4, 6, 3, 2))
    info = plan.info
    assert (info.shape, info.output_shape, info.map_shape) == ((6, 3, 2), (6, 3, 2), (6, 6))
    assert info.flops > 0 and info.exps == 36 and info.bytes == 2 * 4 * 36 and info.in_place
    assert plan.workspace_size(2) == info.workspace_fixed + 2 * info.workspace_per_sample
    assert plan.describe().startswith("self-attention-spatial on samples [6, 3, 2]")
    assert plan.engine is engine and plan.layer is spatial
    assert repr(plan) == "<attentile.Plan: self-attention-spatial, samples of [6, 3, 2]>"
    assert heads.takes_key and not spatial.takes_key
