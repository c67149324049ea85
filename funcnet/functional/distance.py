"""Norms, distances and angles between vectors."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_non_negative
from funcnet.core.dtypes import at_least_float32, widened
from funcnet.functional.subgradients import magnitude

__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]


def vector_norm(
    x: Array, p: float, axis: int | tuple[int, ...] = -1, keepdims: bool = False
) -> Array:
    """Return the p-norm over some axes, with a gradient of zero where the norm is zero.

    ``p = 0`` counts what is not zero, ``p = inf`` takes the largest magnitude and ``p = -inf`` the
    smallest. Computed in float32 at least; the norm of complex vectors is real.

    Example:
        >>> from funcnet.functional.distance import vector_norm
        >>> float(vector_norm(jnp.array([3.0, -4.0]), 2))
        5.0
    """
    wide = x.astype(at_least_float32(x.dtype))
    real = jnp.finfo(wide.dtype).dtype
    if p == 0:
        norm = jnp.sum((wide != 0).astype(real), axis, keepdims=keepdims)
    elif math.isinf(p):
        extreme = jnp.max if p > 0 else jnp.min
        norm = extreme(magnitude(wide), axis, keepdims=keepdims)
    elif p == 1:
        norm = jnp.sum(magnitude(wide), axis, keepdims=keepdims)
    else:
        if p == 2 and wide.dtype != real:
            powers = jnp.square(wide.real) + jnp.square(wide.imag)
        else:
            powers = jnp.square(wide) if p == 2 else _power(magnitude(wide), p)
        norm = _power(jnp.sum(powers, axis, keepdims=keepdims), 1 / p)
    return norm.astype(jnp.finfo(x.dtype).dtype)


def _power(size: Array, exponent: float) -> Array:
    """Raise numbers that are not negative to a power; where they are zero, so is the gradient.

    The slope of ``x^p`` at zero has no bound for ``p`` below one, and zero times infinity is NaN:
    so zero is replaced before it is raised, and not only afterwards.
    """
    zero = size == 0  # not `size <= 0` or its like, which would turn NaN into a norm
    safe = jnp.where(zero, jnp.ones((), size.dtype), size)
    power = jnp.sqrt(safe) if exponent == 0.5 else safe**exponent
    return jnp.where(zero, jnp.asarray(0.0 if exponent > 0 else jnp.inf, size.dtype), power)


def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    r"""Cosine of the angle between vectors: ``x₁·x₂ / (max(|x₁|, ε) max(|x₂|, ε))``.

    Args:
        x1: vectors along the axis ``dim``.
        x2: vectors too, of a shape that broadcasts with that of ``x1``.
        dim: the axis of the broadcast shape to sum over.
        eps: the least norm to divide by.

    Returns:
        The broadcast shape without the axis ``dim``.

    Raises:
        ValueError: shapes that do not broadcast.
        TypeError: integers, booleans or complex numbers.

    Example:
        >>> F.cosine_similarity(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])).tolist()
        [0.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html
    """
    dtype, x1, x2 = widened("cosine_similarity", x1=x1, x2=x2)
    shape = _common_shape("cosine_similarity", x1, x2)
    if not shape and dim in (0, -1):  # two numbers are vectors of one element
        return cosine_similarity(x1[None], x2[None], 0, eps).astype(dtype)
    x1, x2 = jnp.broadcast_to(x1, shape), jnp.broadcast_to(x2, shape)
    return jnp.sum(_unit(x1, dim, eps) * _unit(x2, dim, eps), axis=dim).astype(dtype)


def _common_shape(function: str, x1: Array, x2: Array) -> tuple[int, ...]:
    try:
        return jnp.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ValueError(
            f"{function} takes vectors whose shapes broadcast; x1 has shape {x1.shape} and x2 "
            f"{x2.shape}"
        ) from None


def _unit(x: Array, axis: int, eps: float) -> Array:
    norm = vector_norm(x, 2, axis, keepdims=True)
    # the bound changes the norm's value and leaves its gradient
    return x / (norm + jax.lax.stop_gradient(jnp.where(norm < eps, eps - norm, 0)))


def pairwise_distance(
    x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    r"""Distance between corresponding vectors: ``‖x₁ - x₂ + ε‖_p`` along the last axis.

    Args:
        x1: ``(*, D)``, real or complex; a number is a vector of one element.
        x2: vectors too, of a shape that broadcasts with that of ``x1``.
        p: exponent of the norm.
        eps: added to each difference, so that the gradient is finite for equal vectors.
        keepdim: whether to keep the last axis with length one.

    Returns:
        ``(*)``, or ``(*, 1)``.

    Raises:
        ValueError: shapes that do not broadcast.
        TypeError: integers or booleans.

    Example:
        >>> F.pairwise_distance(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))).round(3).tolist()
        [5.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pairwise_distance.html
    """
    dtype, x1, x2 = widened("pairwise_distance", complex=True, x1=x1, x2=x2)
    if not _common_shape("pairwise_distance", x1, x2):  # PyTorch's keepdim adds no axis here
        x1, keepdim = x1[None], False
    return vector_norm(x1 - x2 + eps, p, keepdims=keepdim).astype(jnp.finfo(dtype).dtype)


def pdist(input: Array, p: float = 2.0) -> Array:
    r"""Distance ``‖x_i - x_j‖_p`` between every two rows, for ``i < j`` in row order.

    Args:
        input: ``(N, D)``.
        p: exponent of the norm, 0 to infinity.

    Returns:
        ``(N (N - 1) / 2,)``.

    Raises:
        ValueError: the input has not two axes, or ``p`` is negative.

    Example:
        >>> F.pdist(jnp.array([[0.0], [1.0], [3.0]])).tolist()
        [1.0, 3.0, 2.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pdist.html
    """
    dtype, x = widened("pdist", input=input)
    if x.ndim != 2:
        raise ValueError(f"input must have shape (N, D); got {x.shape}")
    check_non_negative("p", p)
    left, right = np.triu_indices(x.shape[0], k=1)
    if x.shape[1] == 0:
        return jnp.zeros(left.shape, dtype)
    if p == 0:
        return vector_norm(x[left] - x[right], p).astype(dtype)
    # Numbers about one have squares that neither overflow nor vanish; a power of two rounds nothing.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), initial=0))
    exponent = jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 1) - 1
    scale = jnp.ldexp(jnp.ones((), x.dtype), exponent)
    x = x / scale
    return (vector_norm(x[left] - x[right], p) * scale).astype(dtype)
