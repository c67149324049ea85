"""Group normalization: over groups of channels of each example."""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_divisible
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.normalization.segments import check_packed, standardize_segments
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
    *,
    segment_ids: ArrayLike | None = None,
) -> Array:
    """Standardize each group of neighbouring channels of each example.

    ``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and the (biased) variance of the group.

    Args:
        input: shape ``(N, C, *)``.
        num_groups: number of groups, a divisor of ``C``.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        eps: added to the variance.
        segment_ids: which of several sequences packed in one each position of an input ``(N, C, L)`` belongs to,
            ``(N, L)``, as `funcnet.data.pack` yields: each has statistics of its own. 0 is padding, and zero in the
            output.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the channels do not divide into the groups, there is one value a group, or segment ids do not
            fit.
        TypeError: segment ids that are no integers.

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
    affine = over_channels(x, weight, bias)
    if segment_ids is not None:
        ids = check_packed("group_norm", x, segment_ids)
        return _packed_group_norm(x, *affine, ids, groups=num_groups, eps=eps)
    return _group_norm(x, *affine, groups=num_groups, eps=eps)


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


@keeping_arguments
def _packed_group_norm(
    x: Array, weight: Array | None, bias: Array | None, ids: Array, *, groups: int, eps: float
) -> Array:
    wide = x.astype(at_least_float32(x.dtype))
    output = scale_and_shift(standardize_segments(wide, ids, groups, eps), weight, bias)
    return jnp.where((ids != 0)[:, None], output, 0).astype(x.dtype)
