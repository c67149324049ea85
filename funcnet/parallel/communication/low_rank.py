"""A matrix as a product of two thin ones: which arrays are worth it, and one step of power iteration."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array, Shape

__all__ = ["Matrices", "matrices_of", "rounds_of_power_iteration"]

Matrices = tuple[int, int, int]
"""How an array is seen: so many matrices, of so many rows and columns."""

Mean = Callable[[Sequence[Array]], Sequence[Array]]


def matrices_of(shape: Shape, stacked: bool = False) -> Matrices | None:
    """See an array as a matrix of its first axis and all others; a stacked one as several.

    Args:
        shape: of the array: a weight ``(out, in)``, a kernel ``(out, in, *window)``.
        stacked: whether a leading axis counts arrays, as that of `nn.Repeat` counts layers.

    Returns:
        The numbers of matrices, rows and columns; ``None`` for vectors and scalars.

    Example:
        >>> matrices_of((32, 3, 5, 5)), matrices_of((12, 64, 16), stacked=True), matrices_of((8,))
        ((1, 32, 75), (12, 64, 16), None)
    """
    count, shape = (shape[0], shape[1:]) if stacked and shape else (1, shape)
    if len(shape) < 2:
        return None
    return count, shape[0], math.prod(shape[1:])


def rounds_of_power_iteration(
    matrices: Sequence[Array], starts: Sequence[Array], mean: Mean
) -> tuple[list[Array], list[Array]]:
    r"""Approximate the means over devices of matrices, while devices exchange thin ones only.

    .. math:: P = \mathrm{orth}\Big(\frac1n\sum_d M_d \, \mathrm{orth}(Q_0)\Big), \qquad
              Q = \frac1n \sum_d M_d^\top P, \qquad \frac1n\sum_d M_d \approx P Q^\top

    Args:
        matrices: each device's own, ``(count, rows, columns)``.
        starts: *Q₀*, ``(count, columns, rank)``, the same on all devices.
        mean: takes means over devices, of all arrays in one go.

    Returns:
        The approximations and the new *Q*, the same on all devices.

    Example:
        >>> column = jnp.arange(1.0, 4.0)[:, None]
        >>> matrix = (column * column.T)[None]                      # of rank one
        >>> (found,), _ = rounds_of_power_iteration([matrix], [jnp.ones((1, 3, 1))], lambda xs: xs)
        >>> bool(jnp.allclose(found, matrix, atol=1e-5))
        True
    """
    lefts = mean([m @ _orthonormal(q) for m, q in zip(matrices, starts, strict=True)])
    lefts = [_orthonormal(p) for p in lefts]
    rights = mean([m.mT @ p for m, p in zip(matrices, lefts, strict=True)])
    products = [p @ q.mT for p, q in zip(lefts, rights, strict=True)]
    return products, list(rights)


def _orthonormal(matrix: Array) -> Array:
    """Give columns of length one at right angles that span the columns; some, where those are zero."""
    return jnp.linalg.qr(matrix)[0]
