"""The probe of a Hessian's diagonal has the diagonal as its mean."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import optim


def test_hutchinson_has_the_diagonal_as_its_mean(x64):
    matrix = jnp.array([[2.0, 0.5], [0.5, 3.0]])

    def loss(p):
        return 0.5 * p["x"] @ matrix @ p["x"] + p["y"] ** 4

    params = {"x": jnp.ones(2), "y": jnp.array(1.0)}
    keys = jax.random.split(jax.random.key(0), 400)
    estimates = jax.jit(jax.vmap(lambda key: optim.hutchinson(loss, key)(params)))(keys)
    # Each estimate is 2 ± 0.5 and 3 ± 0.5; the mean of 400 has a deviation of 0.025.
    np.testing.assert_allclose(estimates["x"].mean(0), [2.0, 3.0], atol=0.1)
    np.testing.assert_allclose(estimates["y"], 12.0, rtol=1e-12)
