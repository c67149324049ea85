"""strict names what is not connected, and lets connected functions pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

X = jnp.array([0.4, 1.6, -2.3])


@pytest.mark.parametrize(
    ("fun", "args", "message"),
    [
        (lambda p, x: p["a"] * x, ({"a": 1.0, "b": 2.0}, 3.0), r"no output depends on p\.b"),
        (lambda x, y: x + jax.lax.stop_gradient(y), (1.0, 2.0), "no output depends on y"),
        (lambda x: {"u": x, "v": jnp.ones(2)}, (1.0,), r"connected to output\.v"),
        (lambda x: (x, jnp.floor(x)), (1.0,), r"connected to output\.1"),
        (jax.jit(lambda x, y: jnp.sin(x)), (1.0, 2.0), "no output depends on y"),
        (jax.checkpoint(lambda x, y: (x, y + jnp.floor(x))[1]), (1.0, 2.0), "depends on x"),
    ],
)
def test_strict_names_what_is_not_connected(fun, args, message):
    with pytest.raises(ValueError, match=message):
        T.strict(fun)(*args)


def test_strict_lets_connected_functions_pass():
    fun = lambda p, n: (jnp.sin(p["a"]) @ p["b"], n + 1)
    p = {"a": X, "b": X, "n": jnp.arange(2)}
    value, number = jax.jit(T.strict(fun))(p, 3)
    # float32: compiled or not, sines and a sum of three products differ by a few roundings of 6e-8
    np.testing.assert_allclose(value, jnp.sin(X) @ X, rtol=1e-6)
    assert number == 4
    grads = T.grad(T.strict(lambda p: fun(p, 1)[0]))(p)
    np.testing.assert_array_equal(grads["b"], jnp.sin(X))
