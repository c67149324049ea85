"""Every example model, spread in every way over four devices, trains as on one device."""

from functools import lru_cache

import jax
import numpy as np

from tests.parallel.example_models import (
    ALL,
    EXAMPLES,
    FEW,
    STRATEGIES,
    is_possible,
    spread_run,
    whole_run,
)

# models take turns with strategies; all pairs, in 32 bits too, and twenty steps, with --grid=full
SAMPLED = [
    ("gpt2", "tensor and fsdp"),
    ("llama", "tensor"),
    ("vit", "zero"),
    ("lstm_lm", "data"),
    ("resnet", "fsdp"),
]
EVERY = [
    (name, strategy) for name in EXAMPLES for strategy in STRATEGIES if is_possible(name, strategy)
]


def pytest_generate_tests(metafunc):
    if "pair" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        pairs = EVERY if full else SAMPLED
        metafunc.parametrize("pair", pairs, ids=["-".join(pair) for pair in pairs])
        metafunc.parametrize("steps", [ALL if full else FEW])
        metafunc.parametrize("bits", [64, 32] if full else [64])


@lru_cache
def on_one_device(name, steps, bits):
    return whole_run(name, steps)


# sums over devices are made in another order; beside that nothing differs
TOLERANCE = {32: 1e-5, 64: 1e-9}


def test_a_spread_model_trains_as_a_whole_one(pair, steps, bits):
    with jax.enable_x64(bits == 64):
        compare(*pair, steps, bits)


def compare(name, strategy, steps, bits):
    expected, whole = on_one_device(name, steps, bits)
    losses, run = spread_run(name, strategy, steps, born=steps == ALL)
    assert {leaf.dtype.itemsize * 8 for leaf in jax.tree.leaves(run.params)} == {bits}
    near = TOLERANCE[bits]
    np.testing.assert_allclose(losses, expected, rtol=near)
    pairs = zip(
        jax.tree.leaves((run.params, run.state)),
        jax.tree.leaves((whole.params, whole.state)),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=near, atol=near)
    spread = [not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run.params)]
    assert any(spread) == (strategy not in ("data", "zero"))


def test_every_strategy_is_sampled():
    assert {strategy for _, strategy in SAMPLED} == set(STRATEGIES)
    assert set(SAMPLED) <= set(EVERY)
