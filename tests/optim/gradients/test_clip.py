"""Clipping by each leaf's norm and by each unit's, and the norm of a tree."""

import jax.numpy as jnp
import numpy as np

from funcnet import optim


def test_per_leaf_and_adaptive_clipping():
    grads = {"big": jnp.full((2, 8), 3.0), "small": jnp.full(4, 0.1)}
    clip = optim.clip_by_norm(2.0)
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(jnp.linalg.norm(clipped["big"]), 2.0, rtol=1e-5)
    np.testing.assert_allclose(clipped["small"], 0.1, rtol=1e-6)
    params = {"big": jnp.array([[1.0] * 8, [0.0] * 8]), "small": jnp.full(4, 100.0)}
    clip = optim.adaptive_clip(0.1, eps=1e-2)
    clipped, _ = clip.update(grads, clip.init(params), params)
    norms = jnp.linalg.norm(clipped["big"], axis=1)
    np.testing.assert_allclose(norms, [0.1 * np.sqrt(8), 0.1 * 1e-2], rtol=1e-5)
    np.testing.assert_allclose(clipped["small"], 0.1, rtol=1e-6)


def test_global_norm_sums_16_bits_in_32():
    tree = {"a": jnp.full(4096, 1.0, jnp.float16), "b": jnp.full(4096, 300.0, jnp.float16)}
    np.testing.assert_allclose(optim.global_norm(tree), 64 * np.sqrt(1 + 9e4), rtol=1e-6)
    assert float(optim.global_norm({})) == 0
    np.testing.assert_allclose(optim.global_norm(jnp.array([3 + 4j])), 5.0)


def test_an_infinite_bound_leaves_gradients_as_they_are():
    """So that one line of a program serves runs with clipping and without, as PyTorch's does."""
    grads = {"a": jnp.array([3e4, -1.0]), "b": jnp.zeros(())}
    for make in (
        optim.clip_by_global_norm,
        optim.clip_by_norm,
        optim.clip_by_value,
        optim.adaptive_clip,
    ):
        clip = make(float("inf"))
        clipped, _ = clip.update(grads, clip.init(grads), grads)
        assert [clipped["a"].tolist(), float(clipped["b"])] == [[3e4, -1.0], 0.0]
