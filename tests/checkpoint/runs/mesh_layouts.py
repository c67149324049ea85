"""Runs of one model on several meshes under several rules, all with the same numbers."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np

import funcnet as fn
from funcnet import nn, optim, parallel, training
from funcnet.core.paths import map_with_path
from funcnet.core.shardings import put_on
from funcnet.parallel.optimizer_state import state_shardings

LAYOUTS = {
    "data": ({"data": 4}, {}, None),
    "zero": ({"data": 4}, {}, "data"),
    "fsdp": ({"data": 4}, {"*.weight": parallel.fsdp(smallest=1)}, None),
    "tensor": ({"data": 2, "model": 2}, {"0.*": ("model",), "2.weight": (None, "model")}, None),
    "tensor, zero": ({"data": 2, "model": 2}, {"0.*": ("model",)}, "data"),
    "half": ({"data": 2}, {"*.weight": parallel.fsdp(smallest=1)}, "data"),
    "one": ({"data": 1}, {}, None),
}
"""Axes of a mesh, rules, and what the optimizer's state is spread over besides."""

OPTIMIZERS = {
    "adam": lambda: optim.adam(0.1),
    "factored": lambda: optim.adafactor(0.1),
    "packed": lambda: optim.packed(optim.adam(0.1), limit=40),
}


def needs(layout):
    sizes = LAYOUTS[layout][0].values()
    return int(np.prod([*sizes]))


@cache
def abstract_run(layout, optimizer):
    """Return the shapes of a run's arrays and where they lie, without compiling anything."""
    axes, rules, zero = LAYOUTS[layout]
    mesh = parallel.mesh(**axes, devices=jax.devices()[: needs(layout)])
    net = fn.functionalize(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)))
    placement = parallel.shard(net, mesh, rules).placement
    create = lambda key: training.TrainState.create(net, OPTIMIZERS[optimizer](), key)
    run = jax.eval_shape(create, jax.random.key(0))
    where = jax.tree.map(lambda leaf: placement.whole, run)
    lies = lambda tree: map_with_path(lambda path, leaf: placement.sharding(path), tree)
    where = replace(
        where,
        params=lies(run.params),
        state=lies(run.state),
        opt_state=state_shardings(run.opt_state, run.params, placement, zero),
    )
    return jax.tree.map(
        lambda x, to: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=to), run, where
    )


def run_on(layout, optimizer, step=1):
    """Make a run on a mesh, whose every number depends on ``step`` and its place alone."""
    leaves, tree = jax.tree.flatten(abstract_run(layout, optimizer))
    return tree.unflatten([_filled(leaf, number + step) for number, leaf in enumerate(leaves)])


def _filled(leaf, seed):
    if is_random_key(leaf):
        return put_on(jax.random.key(seed), leaf.sharding)
    whole = np.random.default_rng(seed).integers(0, 100, leaf.shape).astype(leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: whole[index])


def is_random_key(leaf):
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def check_equal(found, expected):
    """Compare what this process holds, and where it lies."""
    found, expected = jax.tree.leaves_with_path(found), jax.tree.leaves_with_path(expected)
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (path, one), (_, other) in zip(found, expected, strict=True):
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim), path
        if is_random_key(one):
            one, other = map(jax.random.key_data, (one, other))
        for mine, theirs in zip(one.addressable_shards, other.addressable_shards, strict=True):
            assert mine.data.dtype == theirs.data.dtype, path
            np.testing.assert_array_equal(mine.data, theirs.data, err_msg=str(path))
