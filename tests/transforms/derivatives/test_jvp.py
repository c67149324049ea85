"""Forward and backward products on trees with constants, and JAX's own results without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

# float32: at most a dozen roundings of 6e-8, and no term cancels another
ROUNDINGS = 1e-6


def mixed(tree, scale):
    weight = tree["weight"] * tree["count"].astype(jnp.float32)
    return {"out": jnp.sin(weight) * scale, "picked": jnp.argmax(weight), "note": True}


TREE = {"weight": jnp.array([0.5, 1.5]), "count": jnp.array([2, 3]), "key": jax.random.key(0)}
SLOPE = 2.0 * np.cos([1.0, 4.5]) * np.array([2, 3])


@pytest.mark.parametrize("ignored", [None, 5, jnp.array([9, 9])])
def test_jvp_ignores_tangents_of_constants(ignored):
    tangents = ({"weight": jnp.ones(2), "count": ignored, "key": None}, 0.0)
    out, tangent = T.jvp(mixed, (TREE, 2.0), tangents)
    np.testing.assert_allclose(tangent["out"], SLOPE, rtol=ROUNDINGS)
    assert tangent["picked"] == 0
    assert tangent["picked"].dtype == out["picked"].dtype
    assert tangent["note"].dtype == jnp.bool_


def test_linearize_and_its_result_goes_through_jit():
    out, push = T.linearize(mixed, TREE, 2.0)
    tangents = ({"weight": jnp.ones(2), "count": None, "key": None}, 0.0)
    for tangent in (push(*tangents), jax.jit(lambda f, t: f(*t))(push, tangents)):
        np.testing.assert_allclose(tangent["out"], SLOPE, rtol=ROUNDINGS)
        assert tangent["picked"] == 0
    assert jax.tree.structure(out) == jax.tree.structure(push(*tangents))


def test_vjp_and_its_result_goes_through_jit():
    out, pullback = jax.jit(lambda t: T.vjp(mixed, t, 2.0))(
        {"weight": TREE["weight"], "count": TREE["count"]}
    )
    cotangent = {"out": jnp.ones(2), "picked": None, "note": None}
    tree_bar, scale_bar = jax.jit(lambda f, c: f(c))(pullback, cotangent)
    np.testing.assert_allclose(tree_bar["weight"], SLOPE, rtol=ROUNDINGS)
    np.testing.assert_array_equal(tree_bar["count"], [0, 0])
    np.testing.assert_allclose(scale_bar, np.sin([1.0, 4.5]).sum(), rtol=ROUNDINGS)
    assert out["picked"] == 1


@pytest.mark.parametrize("has_aux", [False, True])
def test_same_as_jax_without_constants(has_aux):
    def fun(x, y):
        out = {"a": x * y, "b": jnp.sin(x)}
        return (out, x + y) if has_aux else out

    x, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    ours = T.jvp(fun, (x, y), (y, x), has_aux=has_aux)
    theirs = jax.jvp(fun, (x, y), (y, x), has_aux=has_aux)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)

    out, push, *aux = T.linearize(fun, x, y, has_aux=has_aux)
    assert len(aux) == has_aux
    jax.tree.map(np.testing.assert_array_equal, push(y, x), theirs[1])

    out, pull, *aux = T.vjp(fun, x, y, has_aux=has_aux)
    expected = jax.vjp(fun, x, y, has_aux=has_aux)[1](out)
    jax.tree.map(np.testing.assert_array_equal, pull(out), expected)
    assert len(aux) == has_aux


def test_errors():
    with pytest.raises(TypeError, match="must be tuples or lists"):
        T.jvp(jnp.sin, 1.0, 1.0)
    with pytest.raises(TypeError, match="the direction must have the structure"):
        T.jvp(lambda t: t["a"], ({"a": 1.0},), ({"b": 1.0},))
    with pytest.raises(TypeError, match="the direction must have the structure"):
        T.vjp(lambda x: {"a": x}, 1.0)[1]({"b": 1.0})
    with pytest.raises((TypeError, ValueError), match=r"shape|dtype"):
        T.jvp(jnp.sin, (jnp.ones(2),), (jnp.ones(3),))


@pytest.mark.parametrize("product", [T.hvp, T.vhp])
def test_hessian_products_against_the_matrix(product, x64):
    def fun(p, q):
        return jnp.sum(jnp.sin(p["a"]) * q**2) * p["n"].astype(float), {"aux": p["n"]}

    p, q = {"a": jnp.array([0.1, 0.2, 0.3]), "n": jnp.array(2)}, jnp.array([1.0, -1.0, 0.5])
    v = ({"a": jnp.array([1.0, 2.0, 3.0]), "n": None}, jnp.array([0.3, 0.2, 0.1]))
    value, (to_p, to_q), aux = product(fun, (p, q), v, has_aux=True)
    assert value == fun(p, q)[0]
    assert aux["aux"] == 2
    assert to_p["n"] == 0
    flat = lambda z: fun({"a": z[:3], "n": p["n"]}, z[3:])[0]
    matrix = jax.hessian(flat)(jnp.concatenate([p["a"], q]))
    expected = matrix @ jnp.concatenate([v[0]["a"], v[1]])
    # float64: sums of six products, some thousand times their roundings of 1e-16
    np.testing.assert_allclose(jnp.concatenate([to_p["a"], to_q]), expected, rtol=1e-12)
