"""Functions whose derivative is not that of what they compute, in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

# float32: at most a dozen roundings of 6e-8, and no term cancels another
ROUNDINGS = 1e-6

X = jnp.array([0.4, 1.6, -2.3])


def test_straight_through_has_the_function_s_values_exactly():
    rounded = T.straight_through(lambda x, scale: jnp.round(x * scale) / scale)
    np.testing.assert_array_equal(rounded(X, 7.0), jnp.round(X * 7.0) / 7.0)
    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_array_equal(jax.jit(jacobian(rounded))(X, 7.0), np.eye(3))
    threshold = T.straight_through(lambda x: x > 0)
    np.testing.assert_array_equal(threshold(X), [1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=r"needs equal shapes; got \(3,\) -> \(\)"):
        T.straight_through(jnp.sum)(X)


def test_gradient_reversal():
    fun = lambda tree: jnp.sum(T.gradient_reversal(tree, 0.5)["x"] ** 2)
    tree = {"x": X, "n": jnp.arange(2)}
    np.testing.assert_allclose(T.grad(fun)(tree)["x"], -X, rtol=ROUNDINGS)
    _, slope = T.jvp(fun, (tree,), ({"x": X, "n": None},))
    np.testing.assert_allclose(slope, -(X**2).sum(), rtol=ROUNDINGS)
    np.testing.assert_array_equal(T.gradient_reversal(tree)["n"], tree["n"])


@pytest.mark.parametrize("name", ["straight_through", "gradient_reversal"])
def test_the_value_beside_a_derivative_follows_the_rule_too(name):
    rounded = T.straight_through(jnp.round)
    rule = {"straight_through": rounded, "gradient_reversal": T.gradient_reversal}[name]
    fun = lambda x: jnp.sin(rule(x)).sum()
    value = lambda x: T.value_and_grad(fun)(x)[0]
    primal = lambda x: T.jvp(fun, (x,), (X,))[0]
    expected = jax.grad(fun)(X)
    assert np.abs(expected).min() > 0.01
    for inside in (value, primal):
        np.testing.assert_allclose(jax.grad(inside)(X), expected, rtol=ROUNDINGS)


def test_stop_gradient_on_a_tree():
    tree = {"x": X, "n": jnp.arange(2), "f": jnp.tanh}
    stopped = T.stop_gradient(tree)
    assert stopped["f"] is jnp.tanh
    assert not np.any(jax.grad(lambda x: T.stop_gradient({"x": x})["x"].sum())(X))


def test_custom_gradient_of_several_arguments():
    @T.custom_gradient
    def product(x, y):
        return x * y, lambda g: (g * 10.0, g * 20.0)

    assert product(2.0, 3.0) == 6.0
    assert jax.grad(product, (0, 1))(2.0, 3.0) == (10.0, 20.0)


def test_custom_gradient_of_a_tree_with_constants():
    tree = {"x": [X, 2 * X], "n": jnp.arange(2), "key": jax.random.key(0)}

    @T.custom_gradient
    def doubled(tree, n):
        value = (tree["x"][0] * tree["x"][1]).sum() * n
        return value, lambda g: ({"x": [g * X, g * 2 * X], "n": None, "key": None}, None)

    grads = jax.jit(T.grad(lambda tree: doubled(tree, 3)))({name: tree[name] for name in tree})
    np.testing.assert_array_equal(grads["x"][1], 2 * X)
    np.testing.assert_array_equal(grads["n"], [0, 0])
    listed = T.custom_gradient(lambda xs: (xs[0] * xs[1], lambda g: [g * 5.0, g * 7.0]))
    assert jax.grad(listed)([2.0, 3.0]) == [5.0, 7.0]
