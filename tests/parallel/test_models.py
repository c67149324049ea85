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

# a model takes its turn with a strategy; all pairs, and twenty steps, with --grid=full
SAMPLED = [
    ("gpt2", "tensor and fsdp"),
    ("llama", "tensor"),
    ("bert", "fsdp"),
    ("vit", "zero"),
    ("lstm_lm", "fsdp"),
    ("resnet", "fsdp"),
    ("unet", "data"),
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


on_one_device = lru_cache(whole_run)


def test_a_spread_model_trains_as_a_whole_one(pair, steps):
    name, strategy = pair
    expected, whole = on_one_device(name, steps)
    losses, run = spread_run(name, strategy, steps, born=steps == ALL)
    # float32: sums over devices are made in another order
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    pairs = zip(
        jax.tree.leaves((run.params, run.state)),
        jax.tree.leaves((whole.params, whole.state)),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    spread = [not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run.params)]
    assert any(spread) == (strategy not in ("data", "zero"))


def test_every_model_and_every_strategy_is_sampled():
    assert {name for name, _ in SAMPLED} == EXAMPLES.keys()
    assert {strategy for _, strategy in SAMPLED} == set(STRATEGIES)
    assert set(SAMPLED) <= set(EVERY)
