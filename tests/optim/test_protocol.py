"""The protocol: composition, both ways with Optax, and leaves of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem

OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda: optim.adam(0.1),
    "adamw": lambda: optim.adamw(0.1, amsgrad=True),
}


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request):
    return OPTIMIZERS[request.param]()


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.smoke
def test_init_under_jit_eval_shape_and_vmap(optimizer):
    params = {"a": {"w": jnp.ones((2, 3))}, "b": [jnp.ones(4)]}
    state = optimizer.init(params)
    assert shapes(jax.eval_shape(optimizer.init, params)) == shapes(state)
    assert shapes(jax.jit(optimizer.init)(params)) == shapes(state)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    ensemble = jax.vmap(optimizer.init)(stacked)
    for one, many in zip(jax.tree.leaves(state), jax.tree.leaves(ensemble), strict=True):
        assert many.shape == (2, *one.shape)


@pytest.mark.smoke
def test_step_two_recompiles_nothing_and_donation_is_safe(optimizer):
    params = {"w": jnp.ones((2, 3)), "s": jnp.ones(())}

    def whole(params, state):
        updates, state = optimizer.update(params, state, params)
        return optim.apply_updates(params, updates), state

    step = jax.jit(whole, donate_argnums=(0, 1))
    state = optimizer.init(params)
    for _ in range(3):
        params, state = step(params, state)
    assert step._cache_size() == 1
    assert int(state.step) == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_dtypes_are_kept(optimizer, dtype):
    params = {"w": jnp.ones((2, 3), dtype)}
    updates, state = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert updates["w"].dtype == dtype
    assert all(slot["w"].dtype == dtype for slot in state.slots.values())
    assert optim.apply_updates(params, updates)["w"].dtype == dtype
    assert bool(jnp.isfinite(updates["w"]).all())


def test_odd_leaves(optimizer):
    params = {
        "empty": jnp.zeros((0, 3)),
        "scalar": jnp.ones(()),
        "count": jnp.array([3, 4]),
        "none": None,
        "nothing": {},
    }
    grads = {**params, "count": np.zeros(2, jax.dtypes.float0), "scalar": jnp.ones(())}
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    updates, state = optimizer.update(grads, state, params)
    new = optim.apply_updates(params, updates)
    assert new["empty"].shape == (0, 3)
    assert new["none"] is None
    assert new["count"].tolist() == [3, 4]
    assert float(new["scalar"]) < 1
    assert int(state.step) == 2


def test_empty_tree_and_bare_array(optimizer):
    updates, _ = optimizer.update({}, optimizer.init({}), {})
    assert updates == {}
    updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
    assert updates.shape == (2,)


def test_a_gradient_of_none_leaves_the_slot():
    optimizer = optim.sgd(0.1, momentum=0.9)
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    _, state = optimizer.update(params, optimizer.init(params))
    updates, after = optimizer.update({"a": jnp.ones(2), "b": None}, state, params)
    assert updates["b"] is None
    buffer = "momentum_buffer"
    np.testing.assert_array_equal(after.slots[buffer]["b"], state.slots[buffer]["b"])
    assert optim.apply_updates(params, updates)["b"] is params["b"]


def test_structure_errors_are_legible(optimizer):
    state = optimizer.init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="differ in structure"):
        optimizer.update({"v": jnp.ones(2)}, state, {"v": jnp.ones(2)})
    with pytest.raises(TypeError, match=r"argument 1 is 0\.1"):
        optim.chain(optim.sgd(), 0.1)
    with pytest.raises(ValueError, match="chain of 1"):
        optim.chain(optim.sgd()).update({}, ())


def test_extra_arguments_reach_those_that_take_them():
    seen = []

    def greedy(grads, state, params=None, **extra):
        seen.append(extra)
        return grads, state

    def picky(grads, state, params=None, *, value):
        seen.append({"value": value})
        return grads, state

    def bare(grads, state, params=None):
        seen.append({})
        return grads, state

    parts = [optim.GradientTransformation(lambda p: (), f) for f in (greedy, picky, bare)]
    chained = optim.chain(*parts)
    chained.update(1.0, chained.init(1.0), value=2.0, other=3.0)
    assert seen == [{"value": 2.0, "other": 3.0}, {"value": 2.0}, {}]


@pytest.fixture
def optax(x64):
    """Optax, whose arithmetic relies on implicit promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield pytest.importorskip("optax")


def test_chains_with_optax_agree(optax):
    cases = {
        "theirs in ours": optim.chain(optax.clip_by_global_norm(1.0), optim.adamw(0.1)),
        "ours in theirs": optax.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.1)),
        "all theirs": optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=1e-2)
        ),
        "all ours": optim.chain(optim.clip_by_global_norm(1.0, eps=0.0), optim.adamw(0.1)),
    }
    params, noise = problem.make(10)
    paths = {name: problem.run(one, params, noise)[0] for name, one in cases.items()}
    for name in cases:
        # Only the two libraries' eps in the norm's quotient (1e-6 and none) tells them apart.
        problem.assert_same(paths[name], paths["all theirs"], rtol=1e-5)
    problem.assert_same(paths["all ours"], paths["all theirs"])


def test_inside_optax_wrappers(optax):
    params, noise = problem.make(8)

    def pair(inner):
        return {
            "multi_transform": optax.multi_transform(
                {"a": inner(0.1), "b": optax.sgd(0.01)}, {"weight": "a", "bias": "b", "scale": "a"}
            ),
            "MultiSteps": optax.MultiSteps(inner(0.1), 2),
            "apply_if_finite": optax.apply_if_finite(inner(0.1), 3),
        }

    ours = pair(optim.adam)
    theirs = pair(optax.adam)
    for name in ours:
        path, _ = problem.run(ours[name], params, noise)
        reference, _ = problem.run(theirs[name], params, noise)
        problem.assert_same(path, reference)
