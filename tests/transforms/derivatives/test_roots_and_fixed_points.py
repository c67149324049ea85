"""Implicit derivatives against unrolled ones and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

pytestmark = pytest.mark.usefixtures("x64")


def contraction(x, a):
    return {"u": 0.3 * jnp.tanh(a["w"] @ x["u"]) + a["b"], "v": 0.5 * jnp.cos(x["v"] * a["s"])}


def problem():
    rng = np.random.default_rng(0)
    a = {"w": jnp.asarray(rng.normal(size=(3, 3))), "b": jnp.asarray(rng.normal(size=3)), "s": 1.5}
    return {"u": jnp.zeros(3), "v": jnp.zeros(2)}, a


@pytest.mark.parametrize(
    ("kind", "linear_solver"), [("fixed_point", "dense"), ("root", "dense"), ("root", "gmres")]
)
def test_derivatives_are_those_of_the_unrolled_iteration(kind, linear_solver):
    init, a = problem()

    def implicit(a):
        if kind == "root":
            residual = lambda x, a: jax.tree.map(jnp.subtract, contraction(x, a), x)
            return T.root(residual, init, a, linear_solver=linear_solver, tol=1e-13)
        return T.fixed_point(contraction, init, a, linear_solver=linear_solver, tol=1e-14)

    def unrolled(a):
        return jax.lax.fori_loop(0, 80, lambda _, x: contraction(x, a), init)

    measure = lambda solve: (
        lambda a: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(solve(a)))
    )
    found = jax.jit(jax.value_and_grad(measure(implicit)))(a)
    expected = jax.jit(jax.value_and_grad(measure(unrolled)))(a)
    # 80 steps of a contraction by half leave 1e-24; gmres stops at a hundred times the precision, 2e-14, which
    # the condition of the system multiplies by less than a thousand
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-11)
    jax.tree.map(close, found, expected)
    direction = jax.tree.map(jnp.ones_like, a)
    tangent = lambda solve: jax.jit(lambda a: jax.jvp(measure(solve), (a,), (direction,))[1])(a)
    close(tangent(implicit), tangent(unrolled))


def test_second_derivatives_of_a_square_root():
    root = lambda a: T.root(lambda x, a: x**2 - a, 1.0, a)
    second = jax.jit(
        lambda a: (jax.grad(jax.grad(root))(a), jax.jvp(jax.grad(root), (a,), (1.0,))[1])
    )
    for found in second(2.0):
        # Newton stops after a step of 1e-8, whose square is what is left
        np.testing.assert_allclose(found, -0.25 * 2.0**-1.5, rtol=1e-12)


def test_vmap_and_no_gradient_of_the_start():
    roots = jax.jit(jax.vmap(lambda a, start: T.root(lambda x: x**3 - a, start)))
    a = jnp.array([1.0, 8.0, 27.0])
    # Newton stops after a step of 1e-8, whose square is what is left
    np.testing.assert_allclose(roots(a, jnp.array([2.0, 1.0, 4.0])), [1.0, 2.0, 3.0], rtol=1e-12)
    assert jax.grad(lambda start: T.root(lambda x: x**2 - 2.0, start))(1.0) == 0


def test_many_unknowns_take_gmres():
    size = 400
    solve = lambda s: T.fixed_point(
        lambda x, s: 0.5 * jnp.sin(jnp.roll(x, 1)) + s, jnp.zeros(size), s
    )
    _, slope = jax.jit(jax.value_and_grad(lambda s: solve(s).sum()))(0.1)
    step = 1e-5
    difference = (solve(0.1 + step).sum() - solve(0.1 - step).sum()) / (2 * step)
    # the difference's own error: the step squared, and the sum's rounding of 1e-13 over the step
    np.testing.assert_allclose(slope, difference, rtol=1e-8)


def test_errors():
    with pytest.raises(TypeError, match="init must hold real arrays; got a leaf of int"):
        T.root(lambda x: x, jnp.array([1, 2]))
    with pytest.raises(ValueError, match="must return the structure and shapes of init: 2"):
        T.fixed_point(lambda x: x[:1], jnp.ones(2))
    with pytest.raises(ValueError, match="linear_solver must be one of"):
        T.root(lambda x: x, 1.0, linear_solver="lu")
