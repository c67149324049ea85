"""What normalizations share: to standardize over axes, scale, shift, and keep running averages.

Statistics are taken in float32 at least.
"""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import widest

__all__ = ["moments", "over_channels", "running_average", "scale_and_shift", "standardize"]


def standardize(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Return ``(x - mean) / sqrt(var + eps)`` over some axes, of numbers in float32 at least."""
    centred, _, var = moments(x, axes)
    return centred * jax.lax.rsqrt(var + eps)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return ``x - mean``, the mean and the biased variance; the axes stay, with length one.

    The mean of numbers that lie far from zero is rounded by more than they may differ. What is left of
    it is therefore measured again on the small numbers after the subtraction, together with their
    squares.
    """
    rough = jax.lax.stop_gradient(x.mean(axes, keepdims=True))
    near = x - rough
    rest = near.mean(axes, keepdims=True)
    var = jnp.square(near).mean(axes, keepdims=True) - jnp.square(rest)
    return near - rest, rough + rest, jnp.maximum(var, 0)


def scale_and_shift(x: Array, weight: Array | None, bias: Array | None) -> Array:
    """Return ``x * weight + bias`` in the widest of their dtypes, leaving out what is ``None``."""
    dtype = widest(x.dtype, *(array.dtype for array in (weight, bias) if array is not None))
    x = x.astype(dtype)
    if weight is not None:
        x = x * weight.astype(dtype)
    return x if bias is None else x + bias.astype(dtype)


def over_channels(input: Array, *arrays: Array | None) -> tuple[Array, ...]:
    """Reshape arrays of one number a channel so that they broadcast against ``(N, C, *)``."""
    shaped = []
    for array in arrays:
        if array is not None and array.shape != (input.shape[1],):
            raise ValueError(
                f"expected one number for each of the {input.shape[1]} channels of the input "
                f"of shape {input.shape}; got shape {array.shape}"
            )
        shaped.append(None if array is None else array.reshape((-1,) + (1,) * (input.ndim - 2)))
    return tuple(shaped)


def running_average(running: Array, new: Array, momentum: float | Array) -> Array:
    """Return ``(1 - momentum) * running + momentum * new`` in the dtype of ``running``.

    Computed in the wider dtype of both.

    Example:
        >>> from funcnet.functional.normalization.standardize import running_average
        >>> running_average(jnp.zeros(1), jnp.ones(1), 0.25).tolist()
        [0.25]
    """
    dtype = widest(running.dtype, new.dtype)
    if isinstance(momentum, jax.Array):
        momentum = momentum.astype(dtype)
    mixed = (1 - momentum) * running.astype(dtype) + momentum * new.astype(dtype)
    return mixed.astype(running.dtype)
