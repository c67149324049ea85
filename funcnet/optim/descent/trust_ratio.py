"""The norm of a layer's weights over the norm of its step, for `lars` and `lamb`."""

import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["leaf_norm", "trust_ratio"]


def leaf_norm(x: Array) -> Array:
    """Compute the Euclidean norm of one array."""
    return jnp.sqrt(jnp.sum(x * x))


def trust_ratio(p_norm: Array, denominator: Array) -> Array:
    """Divide two norms; where either is zero, let the step be as it is."""
    usable = (p_norm > 0) & (denominator > 0)
    return jnp.where(usable, p_norm / jnp.where(usable, denominator, 1), 1)
