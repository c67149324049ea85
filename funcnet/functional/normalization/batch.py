"""Batch normalization: each channel is standardized over a batch.

Mean and square are summed in one pass over the input. What makes that safe is a shift: subtracting
the mean of a typical example first leaves small numbers, whose squares do not cancel. Typical is the
median of three, so that one example far from all others is never the one.
"""

import math
from collections.abc import Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import at_least_float32, widened, widest
from funcnet.functional.explicit_meshes import devices_of, let_xla_place
from funcnet.functional.normalization.standardize import running_average
from funcnet.functional.residuals import keeping_arguments, row

__all__ = ["batch_norm", "batch_norm_update"]

AxisName = Hashable


class ChannelStatistics(NamedTuple):
    """Statistics of each channel.

    Attributes:
        shift: what was subtracted from the input before anything else; ``None`` for nothing.
        mean: of the shifted input.
        var: the biased variance.
        size: number of values of a channel; an array where a mask says which count.
    """

    shift: Array | None
    mean: Array
    var: Array
    size: int | Array


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float | Array = 0.1,
    eps: float = 1e-5,
    *,
    channels_last: bool = False,
    axis_name: AxisName | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """Standardize each channel: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    In training the mean and (biased) variance are those of the batch, otherwise the running ones,
    which are constants to differentiation.
    Arrays are immutable: `batch_norm_update` also returns the running statistics that PyTorch would
    have written in place. Computed in float32 at least.

    Args:
        input: shape ``(N, C)`` or ``(N, C, *spatial)``.
        running_mean: shape ``(C,)``.
        running_var: shape ``(C,)``.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        training: use the batch's statistics.
        momentum: only of meaning in `batch_norm_update`.
        eps: added to the variance.
        channels_last: the input is ``(N, *spatial, C)``.
        axis_name: mesh axis (or several) over which the batch is split; in training its parts are
            taken as one.
        where: mask ``(N, *spatial)`` of what counts, such as the tokens that are not padding. The rest is in no
            statistics, whatever it holds, and zero in the output.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: one value a channel in training, or none of the statistics otherwise.

    Example:
        >>> F.batch_norm(jnp.array([[0.0], [2.0]]), None, None, training=True).round(3).tolist()
        [[-1.0], [1.0]]

    Reference: Ioffe and Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167.
    """
    del momentum
    dtype, x = widened("batch_norm", input=input)
    if x.shape == (0,):  # nothing, of no channels: PyTorch takes it too
        return x.astype(dtype)
    axes = _reduced_axes(x, channels_last)
    _check_eps(eps, training)
    _check_channels(x, axes, running_mean, running_var, weight, bias)
    mask = _mask_of(x, axes, where)
    if training:
        return _by_own_statistics(dtype, x, weight, bias, mask, eps, axes, axis_name)[0]
    if running_mean is None or running_var is None:
        raise ValueError("running_mean and running_var are needed unless training=True")
    mean, var = jax.lax.stop_gradient((running_mean, running_var))
    statistics = ChannelStatistics(None, mean, var, 0)
    x = _only(mask, x)
    return _only(mask, _affine(x, statistics, weight, bias, eps, axes).astype(dtype))


def batch_norm_update(
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    momentum: float | Array = 0.1,
    eps: float = 1e-5,
    *,
    channels_last: bool = False,
    axis_name: AxisName | None = None,
    where: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Standardize each channel by the batch's statistics and return the new running ones too.

    ``running = (1 - momentum) * running + momentum * batch``, where the batch's variance is the
    unbiased one. No gradient flows into the running statistics.

    Args:
        input: shape ``(N, C)`` or ``(N, C, *spatial)``.
        running_mean: shape ``(C,)``.
        running_var: shape ``(C,)``.
        weight: scale of each channel, shape ``(C,)``.
        bias: offset of each channel, shape ``(C,)``.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
        channels_last: the input is ``(N, *spatial, C)``.
        axis_name: mesh axis (or several) over which the batch is split; its parts are taken as one.
        where: mask ``(N, *spatial)`` of what counts, as of `batch_norm`. A batch of which nothing counts leaves the
            running statistics as they are.

    Returns:
        ``(output, running_mean, running_var)``.

    Raises:
        ValueError: one value a channel.

    Example:
        >>> x = jnp.array([[0.0], [2.0]])
        >>> _, mean, var = F.batch_norm_update(x, jnp.zeros(1), jnp.ones(1), momentum=0.5)
        >>> mean.tolist(), var.tolist()
        ([0.5], [1.5])

    Reference: Ioffe and Szegedy, Batch Normalization, 2015, https://arxiv.org/abs/1502.03167.
    """
    dtype, x = widened("batch_norm_update", input=input)
    if x.shape == (0,):
        return x.astype(dtype), running_mean, running_var
    axes = _reduced_axes(x, channels_last)
    _check_eps(eps, training=True)
    _check_channels(x, axes, running_mean, running_var, weight, bias)
    mask = _mask_of(x, axes, where)
    output, statistics = _by_own_statistics(dtype, x, weight, bias, mask, eps, axes, axis_name)
    if statistics.shift is None:  # an empty batch says nothing
        return output, running_mean, running_var
    mean, var = jax.lax.stop_gradient((statistics.mean + statistics.shift, statistics.var))
    # a mean of squares less the square of a mean can be rounded to just below zero
    unbiased = jnp.maximum(var, 0) * _bessel(statistics.size, var.dtype)
    averages = (
        running_average(running_mean, mean, momentum),
        running_average(running_var, unbiased, momentum),
    )
    if mask is not None:  # a batch of which nothing counts says nothing either
        old = running_mean, running_var
        averages = jax.tree.map(partial(jnp.where, statistics.size > 0), averages, old)
    return output, averages[0], averages[1]


def _by_own_statistics(
    dtype: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mask: Array | None,
    eps: float,
    axes: tuple[int, ...],
    axis_name: AxisName | None,
) -> tuple[Array, ChannelStatistics]:
    """Standardize by the batch's statistics. For the gradient of an input of 16 bits no array of 32 is kept."""
    settings = {"eps": eps, "axes": axes, "axis_name": axis_name}
    if x.dtype == dtype or 0 in x.shape:
        output, statistics = _standardized(x, weight, bias, mask, **settings)
        return output.astype(dtype), statistics
    output, statistics = _standardized_again(x.astype(dtype), weight, bias, mask, **settings)
    if mask is not None:
        return output, statistics
    shift, mean, var, _ = statistics
    size = _size_of(x, axes) * (1 if axis_name is None else jax.lax.axis_size(axis_name))
    return output, ChannelStatistics(shift, mean, var, size)


def _standardized(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mask: Array | None,
    *,
    eps: float,
    axes: tuple[int, ...],
    axis_name: AxisName | None,
) -> tuple[Array, ChannelStatistics]:
    wide = _only(mask, x.astype(at_least_float32(x.dtype)))
    if mask is None or 0 in x.shape:
        statistics = _statistics(wide, axes, axis_name)
    else:
        statistics = _statistics_where(mask, wide, axes, axis_name)
    output = _affine(wide, statistics, weight, bias, eps, axes).astype(x.dtype)
    return _only(mask, output), statistics


_standardized_again = keeping_arguments(_standardized, surely=True)


def _bessel(size: Any, dtype: Any) -> float | Array:
    """Return ``n / (n - 1)``, by which a variance of ``n`` numbers is that of what they were drawn from."""
    if not isinstance(size, int):  # a length that an export leaves open
        size = jnp.asarray(size).astype(dtype)
        return size / jnp.maximum(size - 1, 1)
    return size / max(size - 1, 1)


def _statistics(x: Array, axes: tuple[int, ...], axis_name: AxisName | None) -> ChannelStatistics:
    size = _size_of(x, axes)
    if size == 0:
        neutral = jnp.zeros(_channels(x, axes), x.dtype)
        return ChannelStatistics(None, neutral, neutral, 0)
    shift = jax.lax.stop_gradient(let_xla_place(lambda x: _typical_mean(x, axes), x, kept=0))
    if axis_name is not None:
        shift = jax.lax.pmean(shift, axis_name)
        size = size * jax.lax.axis_size(axis_name)
    if size == 1:
        raise ValueError(
            "in training each channel needs more than one value to take a variance of; "
            f"got an input of shape {x.shape}"
        )
    centred = x - jnp.expand_dims(shift, axes)
    mean, square = centred.mean(axes), (centred * centred).mean(axes)
    if axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    mean, square = row(mean), row(square)
    return ChannelStatistics(shift, mean, square - mean * mean, size)


def _statistics_where(
    mask: Array, x: Array, axes: tuple[int, ...], axis_name: AxisName | None
) -> ChannelStatistics:
    """Take the statistics of what counts; the rest of the input is zero already."""
    sums = partial(_sums, axis_name=axis_name)
    size = sums(mask.astype(x.dtype).sum())
    by = jnp.maximum(size, 1)
    shift = jax.lax.stop_gradient(sums(x.sum(axes)) / by)
    centred = _only(mask, x - jnp.expand_dims(shift, axes))
    mean, square = sums(centred.sum(axes)) / by, sums((centred * centred).sum(axes)) / by
    mean, square = row(mean), row(square)
    return ChannelStatistics(shift, mean, square - mean * mean, size)


def _sums(x: Array, axis_name: AxisName | None) -> Array:
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def _mask_of(x: Array, axes: tuple[int, ...], where: ArrayLike | None) -> Array | None:
    """Return a mask with an axis of channels, of length one."""
    if where is None:
        return None
    shape = tuple(x.shape[axis] for axis in axes)
    mask = jnp.asarray(where)
    if mask.shape != shape:
        raise ValueError(
            f"where must have the input's shape without its channels, {shape}; got {mask.shape}"
        )
    return jnp.expand_dims(mask.astype(bool), [n for n in range(x.ndim) if n not in axes])


def _only(mask: Array | None, x: Array) -> Array:
    return x if mask is None else jnp.where(mask, x, jnp.zeros((), x.dtype))


def _size_of(x: Array, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


def _typical_mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Return a mean of few examples. Where devices share the batch out, each takes some of its own."""
    median = partial(_median_of_means, axes=axes)
    examples, devices = x.shape[0], devices_of(x)
    if devices == 1 or not examples or examples % devices:
        return median(x)
    return jax.vmap(median)(x.reshape(devices, -1, *x.shape[1:])).mean(0)


def _median_of_means(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the median of the means of three examples, spread over the batch."""
    examples = x.shape[0]
    is_open = not isinstance(examples, int)  # for an export
    if is_open or examples < 3:
        return x.mean(axes)
    step = examples // 3
    three = jax.lax.slice_in_dim(x, step // 2, step // 2 + 2 * step + 1, step)
    a, b, c = three.mean(axes[1:])
    return jnp.maximum(jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), c))


def _affine(
    x: Array,
    statistics: ChannelStatistics,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    axes: tuple[int, ...],
) -> Array:
    # One multiplication and one addition an element, on the shifted input where there is a shift.
    given = (
        array for array in (statistics.mean, statistics.var, weight, bias) if array is not None
    )
    x = x.astype(widest(x.dtype, *(array.dtype for array in given)))
    mean, var = statistics.mean.astype(x.dtype), statistics.var.astype(x.dtype)
    scale = jax.lax.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight.astype(x.dtype)
    if statistics.shift is not None:
        x = x - jnp.expand_dims(statistics.shift.astype(x.dtype), axes)
    offset = -mean * scale
    if bias is not None:
        offset = offset + bias.astype(x.dtype)
    return x * jnp.expand_dims(scale, axes) + jnp.expand_dims(offset, axes)


def _reduced_axes(input: Array, channels_last: bool) -> tuple[int, ...]:
    if input.ndim < 2:
        raise ValueError(f"input must have shape (N, C, ...); got {input.shape}")
    channel = input.ndim - 1 if channels_last else 1
    return tuple(axis for axis in range(input.ndim) if axis != channel)


def _channels(input: Array, axes: tuple[int, ...]) -> int:
    return next(size for axis, size in enumerate(input.shape) if axis not in axes)


def _check_eps(eps: float, training: bool) -> None:
    if eps < 0 or (training and eps == 0):
        kind = "positive in training" if training else "zero or more"
        raise ValueError(f"eps must be {kind}; got {eps}")


def _check_channels(input: Array, axes: tuple[int, ...], *arrays: Array | None) -> None:
    channels = _channels(input, axes)
    for array in arrays:
        if array is not None and array.shape != (channels,):
            raise ValueError(
                f"input of shape {input.shape} has {channels} channels; statistics, weight and "
                f"bias must have shape ({channels},), got {array.shape}"
            )
