"""Curvature by products, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from funcnet import transforms as T

pytestmark = pytest.mark.usefixtures("x64")
# sums of a few terms: some thousand times their roundings of 1e-16
FLOAT64 = 1e-12


def problem():
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=2))}
    x, y = jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.integers(0, 2, 5))
    direction = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
    return params, x, y, direction


def model(params, x):
    return jnp.tanh(x @ params["w"]) + params["b"]


def cross_entropy(logits, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]


def dense(fun, params):
    flat, unravel = ravel_pytree(params)
    return fun(lambda tree_fun: lambda v: tree_fun(unravel(v)), flat)


def close(tree, vector):
    # float64: sums of up to a hundred products of about one, some million times their roundings of 1e-16
    np.testing.assert_allclose(ravel_pytree(tree)[0], vector, rtol=1e-10, atol=1e-12)


def test_gauss_newton():
    params, x, y, v = problem()
    loss = lambda z: cross_entropy(z, y).mean()
    of_params = lambda p: model(p, x)
    value, (product,) = jax.jit(lambda p, v: T.gauss_newton_vp(of_params, loss, (p,), (v,)))(
        params, v
    )
    np.testing.assert_allclose(value, loss(of_params(params)), rtol=FLOAT64)
    jacobian = dense(lambda lift, flat: jax.jacobian(lift(of_params))(flat), params).reshape(10, 8)
    curvature = jax.hessian(loss)(of_params(params)).reshape(10, 10)
    close(product, jacobian.T @ curvature @ jacobian @ ravel_pytree(v)[0])


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "normal"])
def test_fisher_is_the_expected_outer_product_of_scores(likelihood):
    params, x, _, v = problem()
    _, (product,) = jax.jit(
        lambda p, v: T.fisher_vp(lambda p: model(p, x), (p,), (v,), likelihood)
    )(params, v)
    logits = np.asarray(model(params, x))
    jacobian = dense(lambda lift, flat: jax.jacobian(lift(lambda p: model(p, x)))(flat), params)
    total = np.zeros((8, 8))
    for z, j in zip(logits, np.asarray(jacobian), strict=True):
        if likelihood == "categorical":  # sum over the labels, with their probabilities
            p = np.exp(z) / np.exp(z).sum()
            metric = sum(p[c] * np.outer(np.eye(2)[c] - p, np.eye(2)[c] - p) for c in range(2))
        elif likelihood == "bernoulli":
            p = 1 / (1 + np.exp(-z))
            metric = np.diag(p * (1 - p) ** 2 + (1 - p) * p**2)
        else:
            metric = np.eye(2)
        total += j.T @ metric @ j / len(logits)
    close(product, total @ ravel_pytree(v)[0])
    with pytest.raises(ValueError, match="likelihood must be one of"):
        T.fisher_vp(lambda p: model(p, x), (params,), (v,), "poisson")


def test_empirical_fisher():
    params, x, y, v = problem()
    losses = lambda p: cross_entropy(model(p, x), y)
    values, (product,) = jax.jit(lambda p, v: T.empirical_fisher_vp(losses, (p,), (v,)))(params, v)
    np.testing.assert_allclose(values, losses(params), rtol=FLOAT64)
    scores = dense(lambda lift, flat: jax.jacobian(lift(losses))(flat), params)
    close(product, scores.T @ scores @ ravel_pytree(v)[0] / 5)


def hessian_of_loss():
    params, x, y, _ = problem()
    params = {**params, "n": jnp.array(2)}
    loss = lambda p: cross_entropy(model(p, x) * p["n"].astype(x.dtype), y).mean()
    matvec = lambda v: T.hvp(loss, (params,), (v,))[1][0]
    free = {name: params[name] for name in ("b", "w")}
    matrix = dense(
        lambda lift, flat: jax.hessian(lift(lambda p: loss({**p, "n": params["n"]})))(flat), free
    )
    return matvec, params, np.asarray(matrix)


def test_hutchinson():
    matvec, params, matrix = hessian_of_loss()
    diagonal, trace = jax.jit(
        lambda key: (
            T.hutchinson_diagonal(matvec, params, key, 4000),
            T.hutchinson_trace(matvec, params, key, 4000),
        )
    )(jax.random.key(0))
    assert diagonal["n"] == 0
    found = np.concatenate([diagonal["b"].ravel(), diagonal["w"].ravel()])
    off = matrix - np.diag(np.diag(matrix))
    # four standard errors of the estimator's known variance
    error = 4 * np.sqrt((off**2).sum(1) / 4000)
    assert np.all(np.abs(found - np.diag(matrix)) <= error + 1e-12)
    assert abs(trace - np.trace(matrix)) <= 4 * np.sqrt(2 * (off**2).sum() / 4000)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_laplacian_is_the_trace_of_the_hessian(chunk_size):
    def fun(x, scale):
        return {"a": jnp.sin(x["u"]).prod() * scale, "b": (x["u"] ** 3).sum() + x["v"] ** 2}

    x = {"u": jnp.array([0.3, 0.7, 1.1]), "v": jnp.array(0.5), "n": jnp.array(1)}
    found = jax.jit(T.laplacian(fun, chunk_size=chunk_size))(x, 2.0)
    np.testing.assert_allclose(found["a"], -3 * np.sin(x["u"]).prod() * 2.0, rtol=FLOAT64)
    np.testing.assert_allclose(found["b"], 6 * np.sum(x["u"]) + 2, rtol=FLOAT64)


def test_lanczos_finds_all_eigenvalues_and_vectors():
    matvec, params, matrix = hessian_of_loss()
    found = jax.jit(lambda key: T.lanczos(matvec, params, key, 8))(jax.random.key(0))
    # the Hessian has a null space (the biases' common shift): its Ritz values come once only
    values = np.linalg.eigvalsh(matrix)
    distinct = values[np.abs(values) > 1e-9]
    for value in distinct:
        index = np.argmin(np.abs(found.eigenvalues - value))
        # eight orthogonal steps end with residuals of 1e-16 over the smallest gap, squared for the values
        np.testing.assert_allclose(found.eigenvalues[index], value, rtol=1e-10)
        ritz = found.vectors[index]
        np.testing.assert_allclose(matrix @ ritz, value * ritz, atol=1e-8)
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=FLOAT64)
    with pytest.raises(ValueError, match="at most the number of elements; got 9, 8"):
        T.lanczos(matvec, params, jax.random.key(0), 9)


def test_top_eigenvalues_of_a_large_matrix():
    rng = np.random.default_rng(1)
    spectrum = np.concatenate([rng.uniform(-1, 1, 197), [10.0, -8.0, 6.0]])
    basis, _ = np.linalg.qr(rng.normal(size=(200, 200)))
    matrix = jnp.asarray(basis * spectrum @ basis.T)
    values, vectors = jax.jit(
        lambda key: T.top_eigenvalues(lambda v: matrix @ v, jnp.zeros(200), key, 3)
    )(jax.random.key(0))
    # 26 steps: the residual of the third falls by about cosh(23 arcosh 6), some 1e24, to rounding
    np.testing.assert_allclose(values, [10.0, -8.0, 6.0], rtol=1e-10)
    np.testing.assert_allclose(vectors @ matrix, values[:, None] * vectors, atol=1e-8)


def test_spectral_density_of_a_known_spectrum():
    spectrum = jnp.repeat(
        jnp.array([-1.0, 0.5, 2.0]), jnp.array([100, 200, 100]), total_repeat_length=400
    )
    points = jnp.linspace(-3, 4, 701)
    density = jax.jit(
        lambda key: T.spectral_density(
            lambda v: spectrum * v, jnp.zeros(400), key, points, width=0.1, steps=10, samples=30
        )
    )(jax.random.key(0))
    # a sum over points a tenth of the width apart is exact to far below this; the tails are ten widths away
    np.testing.assert_allclose(density.sum() * 0.01, 1.0, rtol=1e-8)
    masses = [
        density[(points > low) & (points < high)].sum() * 0.01
        for low, high in ((-2, 0), (0, 1), (1, 3))
    ]
    # a quadratic form in 400 normals, thirty starts: standard error below 0.005
    np.testing.assert_allclose(masses, [0.25, 0.5, 0.25], atol=0.02)


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_ntk_against_dense_jacobians(chunk_size):
    params, x, _, _ = problem()
    params = {**params, "n": jnp.array(1)}
    one = lambda p, x: model(p, x)
    kernel = jax.jit(lambda p: T.ntk(one, p, x, x[:3], chunk_size=chunk_size))(params)
    free = {name: params[name] for name in ("b", "w")}
    jacobian = dense(lambda lift, flat: jax.jacobian(lift(lambda p: one(p, x)))(flat), free)
    expected = np.einsum("iap,jbp->ijab", jacobian, jacobian[:3])
    close(kernel, expected.ravel())
    trace = T.ntk(one, params, x, outputs="trace")
    close(trace, np.einsum("iap,jap->ij", jacobian, jacobian).ravel())
