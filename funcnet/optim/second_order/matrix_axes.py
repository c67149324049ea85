"""One axis of an array at a time: its products with a matrix, and its covariance."""

import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["along", "gram"]


def along(x: Array, axis: int, matrix: Array) -> Array:
    """Multiply one axis of an array by a matrix from the left."""
    return jnp.moveaxis(jnp.tensordot(matrix, x, axes=(1, axis)), 0, axis)


def gram(x: Array, axis: int) -> Array:
    """Sum the products of all pairs of slices along an axis."""
    others = [i for i in range(x.ndim) if i != axis]
    return jnp.tensordot(x, x, axes=(others, others))
