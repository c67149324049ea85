"""Counts beyond 32 bits, sums that lose nothing, moments merged in any order."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from funcnet import parallel
from funcnet.training import metrics as M
from funcnet.training.metrics.totals import Count, Moments, Total


def count_of(number):
    return Count(jnp.uint32(number & 0xFFFFFFFF), jnp.uint32(number >> 32))


@pytest.mark.parametrize("before", [0, 2**24, 2**31 - 1, 2**32 - 1, 2**32, 2**40 + 7])
@pytest.mark.parametrize("more", [0, 1, 2**16, 2**31 - 1])
def test_counts_are_exact(before, more):
    count = count_of(before).add(jnp.int32(more))
    assert count.exact() == before + more
    assert float(count.value()) == np.float32(before + more)
    assert count.merge(count).exact() == 2 * (before + more)


def test_counts_of_devices_carry():
    numbers = np.array([2**32 - 1, 2**32 - 1, 2**31, 65535 * 65536], np.uint64)
    mesh = parallel.mesh(data=4, devices=jax.devices()[:4])
    low, high = (numbers & 0xFFFFFFFF).astype(np.uint32), (numbers >> 32).astype(np.uint32)

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(P("data"), P("data")), out_specs=P())
    def total(low, high):
        return Count(low[0], high[0]).reduce("data")

    assert total(low, high).exact() == int(numbers.sum())


def test_a_long_sum_loses_nothing(rng):
    """Ten million terms by batches: float32 alone would be off in the fourth digit."""
    terms = rng.random((1000, 100)).astype(np.float32) + 1

    @jax.jit
    def run(terms):
        def step(totals, batch):
            exact, plain = totals
            return (exact.add(batch, (0,)), plain + batch.sum()), None

        start = (Total.zeros(), jnp.zeros((), jnp.float32))
        many = lambda totals, _: (jax.lax.scan(step, totals, terms)[0], None)
        return jax.lax.scan(many, start, None, length=100)[0]

    exact, plain = run(terms)
    expected = 100 * terms.astype(np.float64).sum()
    both = float(exact.sum) + float(exact.error)
    assert abs(both / expected - 1) < 1e-11
    assert abs(float(plain) / expected - 1) > 1e-6  # what it is compared with does lose


def test_a_sum_of_what_nearly_cancels(rng):
    big = rng.standard_normal(500).astype(np.float32) * 1e6
    terms = rng.permutation(np.concatenate([big, -big, np.float32([0.125, 0.5])]))
    exact = float(sum(map(Fraction, terms.tolist())))
    assert float(jax.jit(lambda t: Total.of(t, (0,)).value())(terms)) == exact == 0.625


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
def test_moments_in_any_order(offset, rng):
    values = (offset + rng.standard_normal((60, 2, 1))).astype(np.float32)
    mask = np.ones((20, 1), bool)
    of = jax.jit(Moments.of)
    a, b, c = (of(part, mask) for part in np.split(values, 3))
    wide = values[:, :, 0].astype(np.float64)
    expected = np.cov(wide.T, bias=True) * 60
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)):
        np.testing.assert_allclose(merged.products.value()[:, :, 0], expected, rtol=1e-6)
        mean = np.asarray(merged.mean.sum, np.float64) + np.asarray(merged.mean.error)
        np.testing.assert_allclose(mean[:, 0], wide.mean(0), rtol=0, atol=5e-8)
    nothing = Moments.zeros(2, 1)
    for merged in (a.merge(nothing), nothing.merge(a)):
        assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), merged, a))


def test_a_metric_after_more_rows_than_int32_and_float32_hold():
    metric = M.Accuracy()
    many = count_of(3 * 2**31 + 1)
    state = metric.init() | {"right": count_of(2**31), "all": many}
    state = jax.jit(metric.update)(state, jnp.eye(4), jnp.arange(4))
    assert state["all"].exact() == 3 * 2**31 + 5
    np.testing.assert_allclose(metric.compute(state), (2**31 + 4) / (3 * 2**31 + 5), rtol=1e-7)
    matrix = M.ConfusionMatrix(2)
    state = matrix.update(matrix.init(), jnp.eye(2), jnp.arange(2))
    for _ in range(33):
        state = matrix.merge(state, state)
    assert matrix.counts(state).tolist() == [[2**33, 0], [0, 2**33]]
    assert matrix.compute(state).tolist() == [[2**31 - 1, 0], [0, 2**31 - 1]]
