"""Group normalization: over groups of channels of each example."""

import math

import jax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_divisible
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.normalization.standardize import (
    moments,
    over_channels,
    scale_and_shift,
)
from funcnet.functional.residuals import keeping_arguments, row

__all__ = ["group_norm"]


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Standardize each group of neighbouring channels of each example.

    Args:
        input: shape ``(N, C, *)``.
        num_groups: number of groups, a divisor of ``C``.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        eps: added to the variance.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the channels do not divide into the groups, or there is one value a group.

    Example:
        >>> F.group_norm(jnp.array([[1.0, 3.0, 5.0, 9.0]]), 2).round(3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Reference: Wu and He, Group Normalization, 2018, https://arxiv.org/abs/1803.08494.
    """
    (x,) = as_floats("group_norm", input=input)
    if x.ndim < 2:
        raise ValueError(f"input must have shape (N, C, ...); got {x.shape}")
    batch, channels, *spatial = x.shape
    if num_groups < 1:
        raise ValueError(f"num_groups must be positive; got {num_groups}")
    check_divisible("the number of channels", channels, "num_groups", num_groups)
    if batch * channels // num_groups * math.prod(spatial) == 1:
        raise ValueError(f"each group has one value only; got an input of shape {x.shape}")
    return _group_norm(x, *over_channels(x, weight, bias), groups=num_groups, eps=eps)


@keeping_arguments
def _group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> Array:
    batch, channels, *spatial = x.shape
    wide = x.astype(at_least_float32(x.dtype))
    grouped = wide.reshape(batch, groups, channels // groups, *spatial)
    centred, _, var = moments(grouped, tuple(range(2, grouped.ndim)))
    level = centred * row(jax.lax.rsqrt(var + eps))
    return scale_and_shift(level.reshape(x.shape), weight, bias).astype(x.dtype)
