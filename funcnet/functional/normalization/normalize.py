"""Scaling vectors to unit length."""

from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import widened
from funcnet.functional.distance import vector_norm

__all__ = ["normalize"]


def normalize(
    input: Array, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Array:
    """Scale vectors to unit length: ``x / max(‖x‖_p, eps)``.

    Args:
        input: array of any shape, real or complex; a number is a vector of one element.
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
    dtype, x = widened("normalize", complex=True, input=input)
    axes = dim if isinstance(dim, int) else tuple(dim)
    if x.ndim == 0 and axes in (0, -1):
        return normalize(x[None], p, 0, eps)[0].astype(dtype)
    if axes == ():  # as in PyTorch: the norm of everything
        axes = tuple(range(x.ndim))
    length = jnp.maximum(vector_norm(x, p, axes, keepdims=True), eps)
    return (x / length.astype(x.dtype)).astype(dtype)
