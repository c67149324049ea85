"""Scaling vectors to unit length."""

from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32

__all__ = ["normalize"]


def normalize(
    input: Array, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Array:
    """Scale vectors to unit length: ``x / max(‖x‖_p, eps)``.

    Args:
        input: array of any shape.
        p: exponent of the norm; ``0`` counts what is not zero, ``inf`` takes the greatest and
            ``-inf`` the least.
        dim: axis (or axes) that the vectors lie along.
        eps: least length to divide by.

    Returns:
        An array of the input's shape and dtype.

    Example:
        >>> [round(value, 3) for value in F.normalize(jnp.array([[3.0, 4.0]]))[0].tolist()]
        [0.6, 0.8]

    Reference: ``torch.nn.functional.normalize``.
    """
    x = input.astype(at_least_float32(input.dtype))
    axes = dim if isinstance(dim, int) else tuple(dim)
    length = jnp.maximum(_norm(x, p, axes), eps)
    return (x / length).astype(input.dtype)


def _norm(x: Array, p: float, axes: int | tuple[int, ...]) -> Array:
    """Return the p-norm over some axes, kept; its gradient at zero is zero."""
    size = jnp.where(x == 0, 0, jnp.abs(x))
    if p == 0:
        return (size != 0).astype(x.dtype).sum(axes, keepdims=True)
    if p == jnp.inf:
        return size.max(axes, keepdims=True)
    if p == -jnp.inf:
        return size.min(axes, keepdims=True)
    if p == 1:
        return size.sum(axes, keepdims=True)
    total = (jnp.square(x) if p == 2 else _power(size, p)).sum(axes, keepdims=True)
    zero = total == 0
    root = jnp.where(zero, 1, total)
    return jnp.where(zero, 0, jnp.sqrt(root) if p == 2 else root ** (1 / p))


def _power(size: Array, p: float) -> Array:
    # For p < 1 the slope of |x|^p has no bound near zero; at zero itself it is taken as zero.
    zero = size == 0
    return jnp.where(zero, 0.0 if p > 0 else jnp.inf, jnp.where(zero, 1, size) ** p)
