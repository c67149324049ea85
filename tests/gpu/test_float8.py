"""Products of 8-bit floats as a GPU computes them, against those of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

pytestmark = pytest.mark.gpu


def test_a_gpus_product_of_8_bit_floats_is_that_of_the_numbers(rng):
    a, scale_a = F.to_float8(jnp.asarray(rng.normal(size=(64, 128)), jnp.float32))
    b, scale_b = F.to_float8(jnp.asarray(rng.normal(size=(128, 32)), jnp.float32))
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    exact = exact * float(scale_a) * float(scale_b)
    made = jax.jit(F.float8_matmul)(a, b, scale_a, scale_b)
    # tensor cores keep about 14 bits of a sum of 128 products of 8-bit floats
    np.testing.assert_allclose(made, exact, rtol=1e-3, atol=5e-3)


def test_gradients_of_a_linear_map(rng):
    x, weight = (jnp.asarray(rng.normal(size=(32, 64)), jnp.float32) for _ in range(2))

    def total(x, weight):
        return jnp.sum(jnp.sin(F.float8_linear(x, weight)))

    mine = jax.jit(jax.grad(total, (0, 1)))(x, weight)
    with jax.default_device(jax.devices("cpu")[0]):
        theirs = jax.jit(jax.grad(total, (0, 1)))(*jax.device_get((x, weight)))
    for a, b in zip(mine, theirs, strict=True):
        # a sum near the border of two neighbours may be rounded to either: an eighth of it, in e5m2
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b)
