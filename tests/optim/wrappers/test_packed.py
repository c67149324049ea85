"""Packing changes the layout of the state, and no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem
from tests.tracing import CountingJit

PACKABLE = {
    "adamw": lambda: optim.adamw(0.1),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, 0.9)),
    "prodigy": lambda: optim.prodigy(d0=1e-2),
    "accumulated": lambda: optim.accumulate(optim.nadam(0.1), 2),
}


@pytest.mark.parametrize("name", PACKABLE)
def test_packing_changes_no_number(name, x64):
    shapes = {"a": (4, 3), "b": (3,), "c": (), "d": (0, 2), "large": (40,)}
    params, noise = problem.make(8, shapes=shapes)
    plain, _ = problem.run(PACKABLE[name](), params, noise)
    path, state = problem.run(optim.packed(PACKABLE[name](), limit=20), params, noise)
    problem.assert_same(path, plain, rtol=1e-13)
    # Leaves of more than 20 elements stay alone, and so does one that fills no buffer with another.
    sizes = {x.shape for x in jax.tree.leaves(state) if x.ndim}
    assert (16,) in sizes
    assert (40,) in sizes
    assert (4, 3) not in sizes


def test_packing_fills_several_buffers(x64):
    params, noise = problem.make(5, shapes={f"w{i}": (2, 3) for i in range(7)})
    plain, _ = problem.run(optim.adamw(0.1), params, noise)
    path, state = problem.run(optim.packed(optim.adamw(0.1), limit=20), params, noise)
    problem.assert_same(path, plain, rtol=1e-13)
    moments = state.inner.slots["exp_avg"]
    assert [x.size for x in moments["packed"]["float64"]] == [18, 18]
    assert list(moments["alone"]) == ["w6"]


def test_packing_keeps_dtypes_apart_and_other_leaves_alone():
    params = {
        "a": jnp.ones(3),
        "b": jnp.ones(2, jnp.bfloat16),
        "c": jnp.ones((2, 2)),
        "d": jnp.ones(1, jnp.bfloat16),
        "n": jnp.arange(2),
        "none": None,
    }
    optimizer = optim.packed(optim.adam(0.1))
    step = CountingJit(optimizer.update, donate_argnums=1)
    state = optimizer.init(params)
    moments = state.inner.slots["exp_avg"]
    assert {dtype: [x.size for x in xs] for dtype, xs in moments["packed"].items()} == {
        "float32": [7],
        "bfloat16": [3],
    }
    assert set(moments["alone"]) == {"n", "none"}
    for _ in range(2):
        updates, state = step(params, state)
    assert updates["b"].dtype == jnp.bfloat16
    assert updates["c"].shape == (2, 2)
    np.testing.assert_array_equal(optim.apply_updates(params, updates)["n"], [0, 1])
    assert step.traces == 1
    stacked = jax.tree.map(lambda p: jnp.stack([p, p]), {"a": params["a"], "c": params["c"]})
    states = jax.vmap(optimizer.init)(stacked)
    updates, _ = jax.vmap(optimizer.update)(stacked, states)
    np.testing.assert_allclose(updates["c"], -0.1, rtol=1e-4)


def test_packing_refuses_what_depends_on_shape():
    for one in (
        optim.lamb(),
        optim.muon(),
        optim.groups({"*": optim.sgd()}),
        optim.chain(optim.sgd(), optim.clip_by_norm(1.0)),
        optim.skip_nonfinite(optim.soap()),
    ):
        with pytest.raises(TypeError, match="packed joins leaves"):
            optim.packed(one)


def test_packed_optax(x64):
    optax = pytest.importorskip("optax")
    params, noise = problem.make(6)
    with jax.numpy_dtype_promotion("standard"):
        path, _ = problem.run(optim.packed(optax.adam(0.1)), params, noise)
        expected, _ = problem.run(optax.adam(0.1), params, noise)
    problem.assert_same(path, expected, rtol=1e-13)
