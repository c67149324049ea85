"""One rule of leaves: every wrapper and transformation against every kind of leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim

# Everything that takes an optimizer, or stands beside one in a chain; a new one is one row here.
WRAPPERS = {
    "bare": lambda inner: inner,
    "accumulate": lambda inner: optim.accumulate(inner, 1),
    "average": lambda inner: optim.average(inner, 0.5),
    "keep_masked": lambda inner: optim.keep_masked(inner, {"other": np.ones(2, bool)}),
    "lookahead": lambda inner: optim.lookahead(inner, 0.5, 2),
    "loss_scale": lambda inner: optim.loss_scale(inner, init_scale=1.0),
    "master_copy": optim.master_copy,
    "packed": optim.packed,
    "skip_nonfinite": optim.skip_nonfinite,
    "freeze": lambda inner: optim.freeze(inner, "other"),
    "mask": lambda inner: optim.chain(optim.mask(optim.scale(0.5), "other"), inner),
    "groups": lambda inner: optim.groups({"leaf": inner, "*": optim.sgd(0.5)}),
    "chain": lambda inner: optim.chain(inner, optim.identity()),
    "add_noise": lambda inner: optim.chain(optim.add_noise(0.0), inner),
    "centralize": lambda inner: optim.chain(optim.centralize(), inner),
    "conjugate": lambda inner: optim.chain(optim.conjugate(), inner),
    "clip_by_global_norm": lambda inner: optim.chain(optim.clip_by_global_norm(1e6), inner),
    "clip_by_norm": lambda inner: optim.chain(optim.clip_by_norm(1e6), inner),
    "clip_by_value": lambda inner: optim.chain(optim.clip_by_value(1e6), inner),
    "adaptive_clip": lambda inner: optim.chain(optim.adaptive_clip(1e6), inner),
    "add_decayed_weights": lambda inner: optim.chain(
        optim.add_decayed_weights(jnp.array(0.0)), inner
    ),
    "scale": lambda inner: optim.chain(optim.scale(1.0), inner),
    "lbfgs": None,
}
INNER = {
    "sgd": lambda: optim.sgd(0.5),
    "momentum": lambda: optim.sgd(0.5, momentum=jnp.array(0.0)),
}

FLOAT0 = jax.dtypes.float0
MOVED = {
    "float32": (np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)),
    "bfloat16": (jnp.ones(3, jnp.bfloat16), jnp.full(3, 2, jnp.bfloat16)),
    "float16": (jnp.ones(3, jnp.float16), jnp.full(3, 2, jnp.float16)),
    "wider gradient": (jnp.ones(3, jnp.bfloat16), jnp.full(3, 2.0)),
    "complex": (jnp.ones(3, jnp.complex64), jnp.full(3, 2, jnp.complex64)),
    "0-d": (jnp.ones(()), jnp.full((), 2.0)),
    "Python float": (1.0, 2.0),
    "Python float, array": (1.0, jnp.array(2.0)),
    "Python complex": (1 + 0j, 2 + 0j),
    "empty": (jnp.ones((3, 0)), jnp.ones((3, 0))),
    "empty rows": (jnp.ones((0, 3)), jnp.ones((0, 3))),
    "row-sparse": (
        jnp.ones((4, 2)),
        optim.RowSparse(jnp.array([2, 0, 2, 9]), jnp.ones((4, 2))),
    ),
    "row-sparse, 16 bits": (
        jnp.ones((4, 2), jnp.bfloat16),
        optim.RowSparse(jnp.array([2, 0, 2, -1]), jnp.ones((4, 2), jnp.bfloat16)),
    ),
    "no rows": (jnp.ones((4, 2)), optim.RowSparse(jnp.zeros(0, int), jnp.ones((0, 2)))),
}
STILL = {
    "no gradient": (jnp.ones(3), None),
    "no gradient, 16 bits": (jnp.ones(3, jnp.bfloat16), None),
    "no gradient, Python float": (1.0, None),
    "None": (None, None),
    "int": (jnp.arange(3), np.zeros(3, FLOAT0)),
    "int, int gradient": (jnp.arange(3), jnp.zeros(3, int)),
    "int, no gradient": (jnp.arange(3), None),
    "bool": (jnp.ones(3, bool), np.zeros(3, FLOAT0)),
    "Python int": (3, np.zeros((), FLOAT0)),
    "Python int, int": (3, 0),
    "Python bool": (True, np.zeros((), FLOAT0)),
    "float with float0": (jnp.ones(3), np.zeros(3, FLOAT0)),
    "key": (jax.random.key(0), np.zeros((), FLOAT0)),
}
OTHER = (jnp.array([1.0, 3.0]), jnp.array([1.0, -1.0]))


def dense(gradient, params):
    if isinstance(gradient, optim.RowSparse):
        gradient = gradient.add_to(jnp.zeros(jnp.shape(params)))
    return np.asarray(gradient, np.complex64)


def run(name, inner, leaf, gradient, steps=2):
    """Take two steps; return the leaf after each, and the states."""
    params, states = {"leaf": leaf, "other": OTHER[0]}, []
    if name == "lbfgs":
        optimizer = optim.lbfgs(1.0, max_iter=1)
    else:
        optimizer = WRAPPERS[name](INNER[inner]())
    state = optimizer.init(params)
    path = []
    for _ in range(steps):
        grads = {"leaf": gradient, "other": OTHER[1]}
        extra = {}
        if name == "lbfgs":
            extra = {"value": 0.0, "loss": lambda p: jnp.sum(p["other"] ** 2)}
        updates, state = optimizer.update(grads, state, params, **extra)
        params = optim.apply_updates(params, updates)
        path.append(params)
        states.append(state)
    return path, states


def typed(tree):
    return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)


@pytest.mark.parametrize("name", sorted(set(WRAPPERS) - {"lbfgs"}))
def test_leaves_that_move(name):
    for inner in INNER:
        for kind, (leaf, gradient) in MOVED.items():
            path, states = run(name, inner, leaf, gradient)
            where = f"{name}({inner}) of {kind}"
            if name == "freeze":
                np.testing.assert_array_equal(path[-1]["other"], OTHER[0], where)
            step = 0.5 * dense(gradient, leaf)
            if name == "centralize" and np.ndim(step) > 1 and np.size(step):
                step = step - step.mean(1, keepdims=True)
            # Lookahead goes half of the way in its second step.
            expected = np.asarray(leaf, np.complex64) - (1 if name == "lookahead" else 2) * step
            got = path[-1]["leaf"]
            np.testing.assert_allclose(np.asarray(got, np.complex64), expected, 1e-6, err_msg=where)
            assert jnp.result_type(got) == jnp.result_type(leaf), where
            assert typed(states[0]) == typed(states[1]), where


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_leaves_that_stay(name):
    for inner in INNER if WRAPPERS[name] else [""]:  # lbfgs has nothing inside
        alone, _ = run(name, inner, jnp.zeros(()), jnp.zeros(()))
        for kind, (leaf, gradient) in STILL.items():
            path, states = run(name, inner, leaf, gradient)
            where = f"{name}({inner}) of {kind}"
            got = path[-1]["leaf"]
            if leaf is None:
                assert got is None, where
            elif kind == "key":
                assert (jax.random.key_data(got) == jax.random.key_data(leaf)).all(), where
            else:
                np.testing.assert_array_equal(
                    np.asarray(got, np.float32), np.asarray(leaf, np.float32), where
                )
                assert jnp.result_type(got) == jnp.result_type(leaf), where
            assert typed(states[0]) == typed(states[1]), where
            # The other leaf moves as it would alone.
            np.testing.assert_allclose(path[-1]["other"], alone[-1]["other"], 1e-6, err_msg=where)
