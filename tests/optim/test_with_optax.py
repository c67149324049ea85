"""Optax's own tools on our optimizers: hyperparameters injected, states mapped over."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from funcnet.optim.rule import RuleState
from tests.optim.test_protocol import MATRICES_ONLY, OPTIMIZERS

RULES = sorted(OPTIMIZERS)


@pytest.fixture
def optax():
    """Optax relies on implicit promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield pytest.importorskip("optax")


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_optax_injects_hyperparameters(name, jitted, optax):
    """A rate changed by Optax's means does what one changed by ours does."""
    params = {"w": jnp.array([[2.0, -1.0], [0.5, 3.0]])}
    grads = {"w": jnp.array([[1.0, -0.5], [0.25, 1.5]])}
    make = getattr(optim, name)
    known = inspect.signature(make).parameters.values()
    whole = [p.name for p in known if p.annotation in (int, bool)]
    theirs = optax.inject_hyperparams(make, static_args=whole)(lr=0.1)
    # An array keeps every term, as Optax makes arrays of all plain numbers.
    plain = {p.name: p.default for p in known if isinstance(p.default, float)}
    numbers = {n: jnp.array(x) for n, x in plain.items() if n in theirs.init(params).hyperparams}
    ours = make(**{**numbers, "lr": 0.1})
    paths = []
    for optimizer in (ours, theirs):
        update = jax.jit(optimizer.update) if jitted else optimizer.update
        state = optimizer.init(params)
        path = []
        for _ in range(3):
            updates, state = update(grads, state, params)
            path.append(updates["w"])
            if optimizer is ours:
                state = optim.with_hyperparams(state, lr=0.01) if name != "rprop" else state
            else:
                state.hyperparams["lr"] = jnp.array(0.01)
        paths.append(path)
    for mine, other in zip(*paths, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)


def test_arrays_are_followed_and_can_be_changed(optax):
    params = {"w": jnp.ones(1)}
    optimizer = optim.sgd(jnp.array(0.1))
    state = optim.with_hyperparams(optimizer.init(params), lr=0.5)
    for _ in range(2):
        updates, state = optimizer.update(params, state)
        assert float(updates["w"][0]) == -0.5
    updates, state = optim.sgd(jnp.array(0.25)).update(params, state)
    assert float(updates["w"][0]) == -0.25


@pytest.mark.parametrize("name", RULES)
def test_optax_maps_over_our_states(name, optax):
    params = {"w": jnp.ones((2, 2)), "b": {"w": jnp.ones((3, 2))}}
    if name not in MATRICES_ONLY:
        params["v"] = jnp.ones(3)
        # the names of some optimizers' slots depend on the number of axes
        for alone in ((), (2,), (2, 3, 2, 2)):
            state = OPTIMIZERS[name]().init({"w": jnp.ones(alone)})
            marked = optax.tree.map_params(OPTIMIZERS[name](), lambda x: "param", state)
            assert all(leaf == "param" for leaf in jax.tree.leaves(marked.slots))
    for optimizer in (
        OPTIMIZERS[name](),
        optim.chain(optim.clip_by_global_norm(1.0), OPTIMIZERS[name]()),
        optim.average(OPTIMIZERS[name]()),
        optim.groups({"*": OPTIMIZERS[name]()}),
    ):
        state = optimizer.init(params)
        marked = optax.tree.map_params(
            optimizer, lambda x: "param", state, transform_non_params=lambda x: "other"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(marked):
            names = {str(getattr(entry, "name", "")) for entry in path}
            inside = bool(names & {"slots", "average"})
            assert leaf == ("param" if inside else "other"), (path, leaf)
    rule = OPTIMIZERS[name]().init(params)
    assert isinstance(rule, RuleState)
