"""Local response normalization: by the energy of neighbouring channels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_ndim, check_positive
from funcnet.core.dtypes import widened

__all__ = ["cross_map_lrn2d", "local_response_norm"]


def local_response_norm(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide each element by the energy of the channels around it.

    ``x_c / (k + alpha * mean(x²))^beta``, the mean over the ``size`` channels around ``c``, where
    those beyond the ends count as zeros.

    Args:
        input: shape ``(N, C, *)`` with at least one axis after the channels.
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: fewer than three axes, or ``size`` not positive.

    Example:
        >>> F.local_response_norm(jnp.ones((1, 2, 1)), 2, alpha=2.0, beta=1.0).ravel().tolist()
        [0.5, 0.3333333432674408]

    Reference: Krizhevsky et al., ImageNet Classification with Deep CNNs, 2012.
    """
    check_positive("size", size)
    dtype, x = widened("local_response_norm", input=input)
    if x.ndim < 3:
        raise ValueError(f"input must have shape (N, C, *spatial); got {x.shape}")
    energy = _windowed_sum(jnp.square(x), size // 2, (size - 1) // 2) / size
    return (x / (alpha * energy + k) ** beta).astype(dtype)


def cross_map_lrn2d(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide each element by the energy of the channels around it, as Torch 7 did.

    ``x_c / (k + alpha / size * Σ_j x_j²)^beta``

    Differs from `local_response_norm` for even sizes, whose windows here hold one channel fewer,
    and in that the first channel is never taken out of the windows again: PyTorch's running sum
    leaves it in, and networks were trained so. The gradient is PyTorch's as well, which is not
    quite that of the formula: its sum reaches over the ``size // 2 + size % 2`` channels before.

    Args:
        input: shape ``(N, C, H, W)``.
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the input has not four axes, or ``size`` is not positive.

    Example:
        >>> F.cross_map_lrn2d(jnp.ones((1, 3, 2, 2)), 3).shape
        (1, 3, 2, 2)

    Reference: ``torch.nn.CrossMapLRN2d``.
    """
    check_positive("size", size)
    dtype, x = widened("cross_map_lrn2d", input=input)
    check_ndim("input", x.ndim, (4,), "(N, C, H, W)")
    return _cross_map(x, size, alpha, beta, k).astype(dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _cross_map(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    return x * _cross_map_scale(x, size, alpha, k) ** -beta


def _cross_map_scale(x: Array, size: int, alpha: float, k: float) -> Array:
    squares = jnp.square(x)
    reach = int((size - 1) / 2 + 1)
    energy = _windowed_sum(squares, reach - 1, reach - 1)
    energy = energy.at[:, reach:].add(squares[:, :1])
    return alpha / size * energy + k


@_cross_map.defjvp
def _cross_map_jvp(
    size: int,
    alpha: float,
    beta: float,
    k: float,
    primals: tuple[Array],
    tangents: tuple[Array],
) -> tuple[Array, Array]:
    """Return the linear map whose transpose is PyTorch's backward pass."""
    (x,), (x_dot,) = primals, tangents
    scale = _cross_map_scale(x, size, alpha, k)
    power = scale**-beta
    before = (size + 1) // 2 if size > 1 else 0
    change = _windowed_sum(x * x_dot, size - 1 - before, before)
    tangent = power * x_dot - 2 * alpha * beta / size * (x * power / scale) * change
    return x * power, tangent


def _windowed_sum(x: Array, before: int, after: int) -> Array:
    """Sum over windows along axis 1, from ``before`` channels earlier to ``after`` later."""
    window = (1, before + 1 + after) + (1,) * (x.ndim - 2)
    padding = ((0, 0), (before, after)) + ((0, 0),) * (x.ndim - 2)
    return jax.lax.reduce_window(
        x, np.zeros((), x.dtype), jax.lax.add, window, (1,) * x.ndim, padding
    )
