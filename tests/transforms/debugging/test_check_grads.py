"""check_grads finds wrong derivatives and accepts right ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T


@jax.custom_jvp
def wrong_slope(x):
    return jnp.sin(x)


wrong_slope.defjvp(
    lambda primals, tangents: (jnp.sin(primals[0]), 1.1 * tangents[0] * jnp.cos(primals[0]))
)


@jax.custom_vjp
def wrong_second(x):
    return x**3


wrong_second.defvjp(lambda x: (x**3, x), lambda x, g: (g * 3 * jax.lax.stop_gradient(x) ** 2,))


def test_right_derivatives_pass(x64):
    def fun(p, n):
        return {"y": jnp.tanh(p["w"] @ p["x"]) * n, "z": p["x"] ** 3, "n": n}

    p = {"w": jnp.ones((2, 3)) / 3, "x": jnp.array([0.1, 0.2, 0.3]), "e": jnp.zeros((0,))}
    T.check_grads(fun, (p, 2), order=2)
    T.check_grads(lambda x: x**4, (1.5,), order=3)


def test_complex_functions_pass(x64):
    z = jnp.array([0.3 + 0.4j, -1.0j])
    T.check_grads(lambda z: jnp.abs(z) ** 2 + jnp.real(z), (z,))
    T.check_grads(lambda z: jnp.conj(z) * jnp.exp(z), (z,), order=1)


def test_thirty_two_bits_have_their_own_tolerance():
    T.check_grads(lambda x: jnp.sin(x).sum(), (jnp.array([0.5, 1.0]),), order=2)


def test_wrong_derivatives_are_named(x64):
    with pytest.raises(AssertionError, match=r"derivative 1 \(fwd\) along p\.x differs"):
        T.check_grads(
            lambda p: wrong_slope(p["x"]), ({"a": 1.0, "x": jnp.ones(2)},), modes=("fwd",)
        )
    with pytest.raises(AssertionError, match=r"derivative 1 \(rev\) along x differs"):
        T.check_grads(lambda x: wrong_slope(x).sum(), (jnp.ones(2),), modes=("rev",))
    with pytest.raises(AssertionError, match=r"derivative 2 \(rev of rev\) along x"):
        T.check_grads(lambda x: wrong_second(x), (2.0,), modes=("rev",))
    T.check_grads(lambda x: wrong_second(x), (2.0,), order=1, modes=("rev",))


def test_errors():
    with pytest.raises(ValueError, match="mode must be one of 'fwd', 'rev'; got 'both'"):
        T.check_grads(np.sin, (1.0,), modes=("both",))
    with pytest.raises(ValueError, match="mode must be one of 'fwd', 'rev'; got 'both'"):
        T.check_grads(np.sin, (1.0,), modes="both")


def test_one_mode_needs_no_tuple() -> None:
    T.check_grads(jnp.sin, (1.0,), modes="rev")
