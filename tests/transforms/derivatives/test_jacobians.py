"""Jacobians and Hessians: JAX's blocks, in chunks, with zeros for constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T


def fun(p, x):
    hidden = jnp.tanh(p["w"] @ x + p["b"])
    return {"hidden": hidden, "norm": (hidden**2).sum()}


P = {"w": jnp.arange(6.0).reshape(2, 3) / 6, "b": jnp.array([0.1, -0.1])}
X = jnp.array([0.3, 0.2, 0.1])


def close(a, b):
    # float32: the same products of numbers up to two, in another order of multiplication and addition: a dozen
    # roundings of 6e-8, which are absolute where two terms cancel
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 100])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
@pytest.mark.parametrize("name", ["jacfwd", "jacrev"])
def test_same_as_jax(name, argnums, chunk_size):
    ours = jax.jit(getattr(T, name)(fun, argnums, chunk_size=chunk_size))(P, X)
    theirs = jax.jit(getattr(jax, name)(fun, argnums))(P, X)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_hessian_is_jax_s(chunk_size):
    scalar = lambda p, x: fun(p, x)["norm"]
    ours = jax.jit(T.hessian(scalar, (0, 1), chunk_size=chunk_size))(P, X)
    theirs = jax.jit(jax.hessian(scalar, (0, 1)))(P, X)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("name", ["jacfwd", "jacrev"])
def test_blocks_of_constants_are_zeros(name):
    def pair(p):
        y = p["x"] * p["n"].astype(jnp.float32)
        return (y, jnp.argmax(y), p["n"]), {"aux": y}

    p = {"x": jnp.array([1.0, 2.0]), "n": jnp.array([3, 4]), "e": jnp.zeros((0,))}
    blocks, aux = getattr(T, name)(pair, has_aux=True)(p)
    of_y, of_index, of_n = blocks
    np.testing.assert_array_equal(of_y["x"], np.diag([3.0, 4.0]))
    np.testing.assert_array_equal(of_y["n"], np.zeros((2, 2), int))
    assert of_y["n"].dtype == jnp.int32
    assert of_y["e"].shape == (2, 0)
    np.testing.assert_array_equal(of_index["x"], np.zeros(2))
    assert of_n["n"].shape == (2, 2)
    np.testing.assert_array_equal(aux["aux"], [3.0, 8.0])


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "hessian"])
def test_nothing_to_differentiate(name):
    blocks = getattr(T, name)(lambda p: p["n"].astype(jnp.float32))({"n": jnp.array([1, 2])})
    inner = blocks["n"]["n"] if name == "hessian" else blocks["n"]
    assert inner.shape == ((2, 2, 2) if name == "hessian" else (2, 2))
    assert not inner.any()


def test_holomorphic_and_its_checks():
    z = jnp.array([1.0 + 1.0j, 2.0])
    for jacobian in (T.jacfwd, T.jacrev):
        found = jacobian(lambda v: v**2, holomorphic=True, chunk_size=1)(z)
        np.testing.assert_array_equal(found, np.diag(2 * np.asarray(z)))
        with pytest.raises(TypeError, match="to be real; got complex64"):
            jacobian(lambda v: v**2)(z)
        with pytest.raises(TypeError, match="to be complex; got float32"):
            jacobian(lambda v: v**2, holomorphic=True)(X)


def test_linear_maps_of_mixed_precision():
    p = {"half": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(2)}
    blocks = T.jacrev(lambda p: p["half"].astype(jnp.float32) * p["single"])(p)
    assert blocks["half"].dtype == jnp.bfloat16
    assert blocks["single"].dtype == jnp.float32
