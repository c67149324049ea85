"""Normalization of each example by itself: over layers, groups of channels, or single channels.

All of them standardize over some axes and then scale and shift; statistics are taken in float32 at
least.
"""

import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_divisible
from funcnet.core.dtypes import at_least_float32

__all__ = ["group_norm", "instance_norm", "instance_norm_update", "layer_norm", "rms_norm"]


def layer_norm(
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """Standardize over the last axes: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    Args:
        input: shape ``(*, *normalized_shape)``.
        normalized_shape: the lengths of the axes to standardize over.
        weight: scale of each element, shape ``normalized_shape``.
        bias: offset of each element, shape ``normalized_shape``.
        eps: added to the variance.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the input does not end in ``normalized_shape``.

    Example:
        >>> F.layer_norm(jnp.array([[1.0, 3.0]]), (2,)).round(3).tolist()
        [[-1.0, 1.0]]

    Reference: Ba, Kiros and Hinton, Layer Normalization, 2016, https://arxiv.org/abs/1607.06450.
    """
    axes = _trailing_axes(input, normalized_shape, weight, bias)
    x = _standardize(input, axes, eps)
    return _scale_and_shift(x, weight, bias).astype(input.dtype)


def rms_norm(
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """Divide by the root mean square over the last axes: ``x / sqrt(mean(x²) + eps) * weight``.

    Args:
        input: shape ``(*, *normalized_shape)``.
        normalized_shape: the lengths of the axes to take the mean over.
        weight: scale of each element, shape ``normalized_shape``.
        eps: added to the mean square; ``None`` is the machine epsilon of the dtype computed in.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the input does not end in ``normalized_shape``.

    Example:
        >>> F.rms_norm(jnp.array([[3.0, -3.0]]), (2,)).round(3).tolist()
        [[1.0, -1.0]]

    Reference: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019,
    https://arxiv.org/abs/1910.07467.
    """
    axes = _trailing_axes(input, normalized_shape, weight)
    x = input.astype(at_least_float32(input.dtype))
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    x = x * jax.lax.rsqrt(jnp.square(x).mean(axes, keepdims=True) + eps)
    return _scale_and_shift(x, weight, None).astype(input.dtype)


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
    if input.ndim < 2:
        raise ValueError(f"input must have shape (N, C, ...); got {input.shape}")
    batch, channels, *spatial = input.shape
    if num_groups < 1:
        raise ValueError(f"num_groups must be positive; got {num_groups}")
    check_divisible("the number of channels", channels, "num_groups", num_groups)
    if batch * channels // num_groups * math.prod(spatial) == 1:
        raise ValueError(f"each group has one value only; got an input of shape {input.shape}")
    grouped = input.reshape(batch, num_groups, channels // num_groups, *spatial)
    x = _standardize(grouped, tuple(range(2, grouped.ndim)), eps).reshape(input.shape)
    return _scale_and_shift(x, *_over_channels(input, weight, bias)).astype(input.dtype)


def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """Standardize each channel of each example over its spatial axes.

    Arrays are immutable: `instance_norm_update` also returns the running statistics that PyTorch
    would have written in place.

    Args:
        input: shape ``(N, C, *spatial)``.
        running_mean: shape ``(C,)``.
        running_var: shape ``(C,)``.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        use_input_stats: use each channel's own statistics, rather than the running ones.
        momentum: only of meaning in `instance_norm_update`.
        eps: added to the variance.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: one value a channel, or no running statistics where they are needed.

    Example:
        >>> F.instance_norm(jnp.array([[[1.0, 3.0], [5.0, 9.0]]])).round(3).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    Reference: Ulyanov et al., Instance Normalization, 2016, https://arxiv.org/abs/1607.08022.
    """
    del momentum
    axes = _spatial_axes(input)
    if use_input_stats:
        _check_spatial_size(input)
        x = _standardize(input, axes, eps)
    elif running_mean is None or running_var is None:
        raise ValueError("running_mean and running_var are needed unless use_input_stats=True")
    else:
        x = input.astype(at_least_float32(input.dtype))
        running = jax.lax.stop_gradient((running_mean, running_var))
        mean, var = _over_channels(input, *running)
        x = (x - mean.astype(x.dtype)) * jax.lax.rsqrt(var.astype(x.dtype) + eps)
    return _scale_and_shift(x, *_over_channels(input, weight, bias)).astype(input.dtype)


def instance_norm_update(
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Standardize as `instance_norm`, and blend the examples' mean statistics into running ones.

    Args:
        input: shape ``(N, C, *spatial)``.
        running_mean: shape ``(C,)``.
        running_var: shape ``(C,)``; it takes up the unbiased variance.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.

    Returns:
        ``(output, running_mean, running_var)``.

    Raises:
        ValueError: one value a channel.

    Example:
        >>> x = jnp.array([[[1.0, 3.0]]])
        >>> _, mean, var = F.instance_norm_update(x, jnp.zeros(1), jnp.ones(1), momentum=0.5)
        >>> mean.tolist(), var.tolist()
        ([1.0], [1.5])

    Reference: Ulyanov et al., Instance Normalization, 2016, https://arxiv.org/abs/1607.08022.
    """
    output = instance_norm(input, None, None, weight, bias, eps=eps)
    axes = _spatial_axes(input)
    x = jax.lax.stop_gradient(input).astype(at_least_float32(input.dtype))
    mean, var = x.mean(axes).mean(0), x.var(axes, ddof=1).mean(0)

    def blend(running: Array, new: Array) -> Array:
        mixed = (1 - momentum) * running.astype(new.dtype) + momentum * new
        return mixed.astype(running.dtype)

    return output, blend(running_mean, mean), blend(running_var, var)


def _standardize(input: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Return ``(x - mean) / sqrt(var + eps)`` over some axes, in float32 at least."""
    x = input.astype(at_least_float32(input.dtype))
    centred = x - x.mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)


def _scale_and_shift(x: Array, weight: Array | None, bias: Array | None) -> Array:
    if weight is not None:
        x = x * weight.astype(x.dtype)
    return x if bias is None else x + bias.astype(x.dtype)


def _over_channels(input: Array, *arrays: Array | None) -> tuple[Array, ...]:
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


def _trailing_axes(
    input: Array, normalized_shape: int | Sequence[int], *affine: Array | None
) -> tuple[int, ...]:
    sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    shape = tuple(map(operator.index, sizes))
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(
            f"normalized_shape {shape} must be the end of the input's shape; got {input.shape}"
        )
    for array in affine:
        if array is not None and array.shape != shape:
            raise ValueError(f"weight and bias must have shape {shape}; got {array.shape}")
    return tuple(range(input.ndim - len(shape), input.ndim))


def _spatial_axes(input: Array) -> tuple[int, ...]:
    if input.ndim < 3:
        raise ValueError(f"input must have shape (N, C, *spatial); got {input.shape}")
    return tuple(range(2, input.ndim))


def _check_spatial_size(input: Array) -> None:
    if math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"each channel has one value only, whose variance is zero; got shape {input.shape}"
        )
