"""Runs that prune while they train: by `training.fit` alone, gone on bit for bit, in mixed precision, in stacks."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint, compression, nn, optim, training
from funcnet import functional as F
from tests.sampling import sampled

STEPS = 12


def batches(count=STEPS):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((count, 8, 6), np.float32)
    return [{"x": rows, "y": (rows[:, 0] > 0).astype(np.int32)} for rows in x]


def model():
    block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Repeat(block, 3), nn.Linear(8, 2))


@cache
def pieces(mixed=False):
    plain = fn.functionalize(model())
    net = fn.mixed_precision(plain) if mixed else plain
    rule = partial(compression.magnitude_masks, module=plain.module, scope="layer")
    schedule = compression.gradual(0.0, 0.5, 6, begin=1)
    optimizer = optim.keep_masked(optim.adamw(0.02), rule, schedule, every=2)
    return training.supervised(net, F.cross_entropy, inputs="x", targets="y"), optimizer


def fit(folder=None, mixed=False, **options):
    objective, optimizer = pieces(mixed)
    run = training.TrainState.create(objective.net, optimizer, jax.random.key(0))
    settings = {"progress": False, "epochs": 1, "checkpoint": folder, **options}
    return training.fit(objective, optimizer, run, batches(), **settings)


def sparse_halves(params):
    """Each weight, each layer of a stack for itself, is half zeros; norms and biases are untouched."""
    found = compression.sparsity(params)
    weights = [row for row in found.rows if row.path.endswith("weight") and len(row.shape) > 1]
    assert len(weights) == 3
    for row in weights:
        assert row.share == 0.5, row
    stack = np.asarray(params["2"]["module"]["0"]["weight"])
    assert ((stack == 0).sum((1, 2)) == 32).all()


@cache
def whole(mixed=False):
    return fit(mixed=mixed)


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed"])
def test_fit_needs_nothing_else(mixed, request):
    sampled(request, not mixed)
    run, history = whole(mixed)
    sparse_halves(run.params)
    assert np.isfinite(history.records[-1]["train/loss"])
    kept = compression.masks_of_zeros(run.params, "*.weight")
    for a, b in zip(jax.tree.leaves(run.opt_state.masks), jax.tree.leaves(kept), strict=False):
        assert a.dtype == b.dtype == bool


class Stop(KeyboardInterrupt):
    """Ends a run as a kill does."""


class Killer(training.Observer):
    every = 1

    def on_step(self, run, *args, **kwargs):
        if int(run.step) == 5:
            raise Stop


def test_a_run_that_broke_off_goes_on_bit_for_bit(tmp_path):
    expected, _ = whole()
    with pytest.raises(Stop), checkpoint.Checkpointer(tmp_path, every=2) as saved:
        fit(saved, observers=[Killer()])
    assert checkpoint.Checkpointer(tmp_path).latest().step == 4
    with checkpoint.Checkpointer(tmp_path, every=2) as saved:
        again, _ = fit(saved)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(again), strict=True
    ):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), str(path), strict=True)


def test_pruned_weights_are_files_as_any_other(tmp_path):
    run, _ = whole()
    checkpoint.save_weights(tmp_path / "pruned.safetensors", model(), run.params, run.state)
    params, _ = checkpoint.load_weights(tmp_path / "pruned.safetensors", model())
    sparse_halves(params)
    masks = compression.masks_of_zeros(params)
    tuned = optim.keep_masked(optim.adam(0.1), masks)
    updates = jax.jit(lambda p: tuned.update(p, tuned.init(p), p)[0])(params)
    sparse_halves(optim.apply_updates(params, updates))


def test_what_training_left_is_taken_out(request):
    """Hidden units go during training, and then for good."""
    sampled(request)
    deep = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Sigmoid(), nn.Linear(16, 2))
    net = fn.functionalize(deep)
    rule = partial(compression.unit_masks, deep)
    optimizer = optim.keep_masked(optim.adam(0.02), rule, compression.gradual(0.0, 0.75, 4))
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    run = training.TrainState.create(net, optimizer, jax.random.key(0))
    run, _ = training.fit(objective, optimizer, run, batches(), epochs=1, progress=False)
    x = batches(1)[0]["x"]
    small = compression.shrink(deep, run.params, run.state, run.opt_state.masks, verify=x)
    expected = net.apply(run.params, run.state, x)[0]
    found = fn.functionalize(small.module).apply(small.params, small.state, x)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert small.params["0"]["weight"].shape == (4, 6)
    assert small.state["1"]["running_mean"].shape == (4,)
