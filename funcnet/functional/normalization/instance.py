"""Instance normalization: over the spatial axes of each channel of each example."""

import math

import jax

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import widened, widest
from funcnet.functional.normalization.group import group_norm
from funcnet.functional.normalization.standardize import (
    moments,
    over_channels,
    running_average,
    scale_and_shift,
    standardize,
)

__all__ = ["instance_norm", "instance_norm_update"]


def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    segment_ids: ArrayLike | None = None,
) -> Array:
    """Standardize each channel of each example over its spatial axes.

    ``(x - mean) / sqrt(var + eps) * weight + bias``

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
        segment_ids: which of several sequences packed in one each position of an input ``(N, C, L)`` belongs to,
            ``(N, L)``, as `funcnet.data.pack` yields: each has statistics of its own. 0 is padding, and zero in the
            output.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: one value a channel, no running statistics where they are needed, or segment ids that do not fit
            or go with running statistics.

    Example:
        >>> F.instance_norm(jnp.array([[[1.0, 3.0], [5.0, 9.0]]])).round(3).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    Reference: Ulyanov et al., Instance Normalization, 2016, https://arxiv.org/abs/1607.08022.
    """
    del momentum
    dtype, x = widened("instance_norm", input=input)
    axes = _spatial_axes(x)
    if segment_ids is not None:
        if not use_input_stats:
            raise ValueError(
                "segments have statistics of their own: leave out use_input_stats=False"
            )
        return group_norm(input, x.shape[1], weight, bias, eps, segment_ids=segment_ids)
    statistics = over_channels(x, running_mean, running_var)
    if use_input_stats:
        _check_spatial_size(x)
        x = standardize(x, axes, eps)
    elif running_mean is None or running_var is None:
        raise ValueError("running_mean and running_var are needed unless use_input_stats=True")
    else:
        mean, var = jax.lax.stop_gradient(statistics)
        wide = widest(x.dtype, mean.dtype, var.dtype)
        x = (x.astype(wide) - mean.astype(wide)) * jax.lax.rsqrt(var.astype(wide) + eps)
    return scale_and_shift(x, *over_channels(x, weight, bias)).astype(dtype)


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

    ``running = (1 - momentum) * running + momentum * mean``, the mean over the batch.

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
    output = instance_norm(input, running_mean, running_var, weight, bias, eps=eps)
    axes = _spatial_axes(input)
    if 0 in input.shape:  # an empty batch says nothing
        return output, running_mean, running_var
    _, x = widened("instance_norm_update", input=jax.lax.stop_gradient(input))
    _, mean, var = moments(x, axes)
    size = math.prod(x.shape[2:])
    examples = (0, *axes)
    return (
        output,
        running_average(running_mean, mean.mean(examples), momentum),
        running_average(running_var, var.mean(examples) * (size / max(size - 1, 1)), momentum),
    )


def _spatial_axes(input: Array) -> tuple[int, ...]:
    if input.ndim < 3:
        raise ValueError(f"input must have shape (N, C, *spatial); got {input.shape}")
    return tuple(range(2, input.ndim))


def _check_spatial_size(input: Array) -> None:
    if math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"each channel has one value only, whose variance is zero; got shape {input.shape}"
        )
