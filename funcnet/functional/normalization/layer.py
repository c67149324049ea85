"""Layer normalization and RMS normalization: over the last axes of each example."""

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.normalization.standardize import scale_and_shift, standardize
from funcnet.functional.residuals import keeping_arguments

__all__ = ["layer_norm", "rms_norm"]


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
    (x,) = as_floats("layer_norm", input=input)
    axes = _trailing_axes(x, normalized_shape, weight, bias)
    return _layer_norm(x, weight, bias, axes=axes, eps=eps)


@keeping_arguments
def _layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axes: tuple[int, ...], eps: float
) -> Array:
    wide = x.astype(at_least_float32(x.dtype))
    return scale_and_shift(standardize(wide, axes, eps), weight, bias).astype(x.dtype)


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
    (x,) = as_floats("rms_norm", input=input)
    axes = _trailing_axes(x, normalized_shape, weight)
    if eps is None:
        eps = float(jnp.finfo(at_least_float32(x.dtype)).eps)
    return _rms_norm(x, weight, axes=axes, eps=eps)


@keeping_arguments
def _rms_norm(x: Array, weight: Array | None, *, axes: tuple[int, ...], eps: float) -> Array:
    wide = x.astype(at_least_float32(x.dtype))
    scale = jax.lax.rsqrt(jnp.square(wide).mean(axes, keepdims=True) + eps)
    return scale_and_shift(wide * scale, weight, None).astype(x.dtype)


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
