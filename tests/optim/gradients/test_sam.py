"""The gradient of `sam` is that of the worst point nearby."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import optim


def test_sam_differentiates_at_the_worst_point():
    def loss(p, scale):
        return scale * jnp.sum(jnp.sin(p["a"]) + p["a"] ** 2) + jnp.sum(p["b"] ** 4)

    params = {"a": jnp.array([0.3, -0.7]), "b": jnp.array([1.2])}
    value, grads = jax.jit(optim.sam(loss, rho=0.1))(params, 2.0)
    plain = jax.grad(loss)(params, 2.0)
    norm = optim.global_norm(plain)
    worst = jax.tree.map(lambda p, g: p + 0.1 * g / norm, params, plain)
    np.testing.assert_allclose(value, loss(params, 2.0), rtol=1e-6)
    for name, expected in jax.grad(loss)(worst, 2.0).items():
        np.testing.assert_allclose(grads[name], expected, rtol=1e-5)
    size = jax.tree.map(lambda p, g: jnp.abs(p) * g, params, plain)
    norm = optim.global_norm(size)
    worst = jax.tree.map(lambda p, g: p + 0.1 * p**2 * g / norm, params, plain)
    _, grads = jax.jit(optim.sam(loss, rho=0.1, adaptive=True))(params, 2.0)
    for name, expected in jax.grad(loss)(worst, 2.0).items():
        np.testing.assert_allclose(grads[name], expected, rtol=1e-5)
    (value, aux), _ = optim.sam(lambda p: (jnp.sum(p), "aux"), has_aux=True)(jnp.ones(2))
    assert (float(value), aux) == (2.0, "aux")
