"""Noise on gradients fades as the paper says, and repeats."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import optim


def test_noise_fades_and_repeats():
    noise = optim.add_noise(eta=4.0, gamma=1.0, seed=3)
    zeros = {"a": jnp.zeros(20000), "b": jnp.zeros(20000)}
    step, state = jax.jit(noise.update), noise.init(zeros)
    first, after = step(zeros, state)
    again, _ = step(zeros, state)
    second, _ = step(zeros, after)
    # 20,000 samples: the deviation is known to half a percent.
    np.testing.assert_allclose(jnp.std(first["a"]), 2.0, rtol=0.03)
    np.testing.assert_allclose(jnp.std(second["a"]), 2.0 / np.sqrt(2), rtol=0.03)
    assert abs(np.corrcoef(first["a"], first["b"])[0, 1]) < 0.05
    np.testing.assert_array_equal(first["a"], again["a"])
