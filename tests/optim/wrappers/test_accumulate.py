"""Accumulated gradients make the step that their mean makes."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import optim
from tests.optim import problem


def test_accumulation_equals_the_mean_gradient(x64):
    params, noise = problem.make(12)
    optimizer = optim.accumulate(optim.adamw(0.1), 4)
    path, state = problem.run(optimizer, params, noise)
    plain = optim.adamw(0.1)

    def one(carry, chunk):
        params, state = carry
        grads = jax.tree.map(lambda p, n: (0.3 * p + n).mean(0), params, chunk)
        updates, state = plain.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        return (params, state), params

    chunks = jax.tree.map(lambda n: jnp.asarray(n).reshape(3, 4, *n.shape[1:]), noise)
    params = jax.tree.map(jnp.asarray, params)
    _, expected = jax.lax.scan(one, (params, plain.init(params)), chunks)
    for name in params:
        np.testing.assert_allclose(path[name][3::4], expected[name], rtol=1e-12)
        np.testing.assert_array_equal(path[name][4], path[name][3])
    assert int(state.inner.step) == 3


def test_accumulation_of_16_bits_is_exact():
    params = {"w": jnp.ones(3, jnp.bfloat16), "count": jnp.arange(2)}
    optimizer = optim.accumulate(optim.sgd(1.0), 256)
    grads = {"w": jnp.full(3, 1.0, jnp.bfloat16), "count": np.zeros(2, jax.dtypes.float0)}

    def step(state, _):
        updates, state = optimizer.update(grads, state, params)
        return state, updates["w"]

    state, updates = jax.jit(lambda s: jax.lax.scan(step, s, None, length=256))(
        optimizer.init(params)
    )
    # In bfloat16 the sum would stop growing where 1/256 is below half of its spacing.
    np.testing.assert_array_equal(updates[-1].astype(jnp.float32), -1.0)
    assert not updates[:-1].any()
    assert updates.dtype == jnp.bfloat16
    assert state.grads["w"].dtype == jnp.float32


def test_accumulation_takes_python_numbers():
    optimizer = optim.accumulate(optim.sgd(1.0), 2)
    updates, state = optimizer.update(1.0, optimizer.init(0.0), 0.0)
    assert float(updates) == 0
    updates, _ = optimizer.update(2.0, state, 0.0)
    assert float(updates) == -1.5
