"""Fake quantization: round to the numbers that few bits can hold, and stay in floats.

What is trained this way learns to live with the rounding: gradients pass as if there were none, and stop where the
range ends.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_count, check_positive
from funcnet.core.dtypes import as_floats, at_least_float32

__all__ = ["fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine"]


def fake_quantize_per_tensor_affine(
    input: Array,
    scale: ArrayLike,
    zero_point: ArrayLike,
    quant_min: int,
    quant_max: int,
    *,
    grad_factor: float | None = None,
) -> Array:
    r"""Round to the multiples of a scale that integers of a range stand for.

    .. math:: q = \operatorname{clip}(\operatorname{round}(x / s) + z, q_{min}, q_{max}), \qquad y = (q - z) s

    The gradient is that of the identity where ``q`` lies in the range, and zero outside.

    Args:
        input: any shape, floats.
        scale: a number above zero: the distance of neighbours.
        zero_point: the integer that stands for 0. Where it is given as a float, ``x / s + z`` is rounded instead.
        quant_min: the least integer.
        quant_max: the greatest.
        grad_factor: None for a scale and zero point that are constants; else they are learned, and their gradients are
            multiplied by this number, which LSQ chooses as ``1 / sqrt(input.size * quant_max)``.

    Returns:
        An array like the input. NaN stays NaN.

    Raises:
        ValueError: the range is empty, the zero point lies outside of it, or the scale is not above zero.
        TypeError: the input holds no floats, or an end of the range is no whole number.

    Example:
        >>> F.fake_quantize_per_tensor_affine(jnp.array([0.12, 0.26, 9.0]), 0.1, 0, -128, 127).round(3).tolist()
        [0.10000000149011612, 0.30000001192092896, 9.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.fake_quantize_per_tensor_affine.html; with
    ``grad_factor`` Esser et al., Learned Step Size Quantization, 2020, https://arxiv.org/abs/1902.08153.
    """
    name = "fake_quantize_per_tensor_affine"
    if jnp.ndim(scale) or jnp.ndim(zero_point):
        raise ValueError(
            f"{name} takes one scale and one zero point; got shapes {jnp.shape(scale)} and {jnp.shape(zero_point)}: "
            "for one a channel write fake_quantize_per_channel_affine(input, scale, zero_point, axis, ...)"
        )
    (input,) = as_floats(name, input=input)
    return _in_range(input, scale, zero_point, (quant_min, quant_max), grad_factor)


def fake_quantize_per_channel_affine(
    input: Array,
    scale: Array,
    zero_point: Array,
    axis: int,
    quant_min: int,
    quant_max: int,
    *,
    grad_factor: float | None = None,
) -> Array:
    """Round as `fake_quantize_per_tensor_affine` does, by a scale and a zero point for each slice along an axis.

    Args:
        input: any shape, floats.
        scale: ``(input.shape[axis],)``.
        zero_point: likewise; integers, or floats.
        axis: of the channels.
        quant_min: the least integer.
        quant_max: the greatest.
        grad_factor: None for constants; else the scales and zero points are learned, see there.

    Returns:
        An array like the input.

    Raises:
        ValueError: there is not one scale and one zero point for each channel, or the range is empty.
        TypeError: the input holds no floats, or an end of the range is no whole number.

    Example:
        >>> scale, zero_point = jnp.array([0.5, 0.25]), jnp.zeros(2, jnp.int32)
        >>> F.fake_quantize_per_channel_affine(jnp.full((2, 1), 0.3), scale, zero_point, 0, -8, 7).tolist()
        [[0.5], [0.25]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.fake_quantize_per_channel_affine.html
    """
    name = "fake_quantize_per_channel_affine"
    (input,) = as_floats(name, input=input)
    if not -input.ndim <= axis < input.ndim:
        raise ValueError(f"{name}: axis {axis} is none of an input of shape {input.shape}")
    channels = (input.shape[axis],)
    for given, array in {"scale": scale, "zero_point": zero_point}.items():
        if jnp.shape(array) != channels:
            raise ValueError(
                f"{name}: {given} must have shape {channels}, one number for each slice along axis {axis}; got "
                f"{jnp.shape(array)}"
            )
    shape = [1] * input.ndim
    shape[axis] = -1
    scale, zero_point = (jnp.reshape(array, shape) for array in (scale, zero_point))
    return _in_range(input, scale, zero_point, (quant_min, quant_max), grad_factor)


def _in_range(
    input: Array, scale: Any, zero_point: Any, ends: tuple[int, int], grad_factor: float | None
) -> Array:
    """Check numbers that are known, and compute in 32 bits at least."""
    for name, end in zip(("quant_min", "quant_max"), ends, strict=True):
        check_count(name, end)
    if ends[0] > ends[1]:
        raise ValueError(f"quant_min must not be above quant_max; got {ends[0]} and {ends[1]}")
    if isinstance(zero_point, int) and not ends[0] <= zero_point <= ends[1]:
        raise ValueError(
            f"zero_point must lie between quant_min and quant_max, {ends}; got {zero_point}"
        )
    if isinstance(scale, (int, float)):
        check_positive("scale", scale)
    wide = at_least_float32(input.dtype)
    whole = jnp.issubdtype(jnp.result_type(zero_point), jnp.integer)
    scale, zero = (jnp.asarray(value).astype(wide) for value in (scale, zero_point))
    if grad_factor is None:
        return _rounded(input, scale, zero, ends, whole)
    scale, zero = (_with_gradient(value, grad_factor) for value in (scale, zero))
    zero = _nearest(jnp.clip(zero, *ends))
    return _learned(input.astype(wide), scale, zero, ends).astype(input.dtype)


def _integers(x: Array, scale: Array, zero: Array, whole: bool) -> Array:
    """Return what stands for numbers, before it is brought into the range."""
    x = x.astype(scale.dtype) * (1 / scale)
    return jnp.round(x) + zero if whole else jnp.round(x + zero)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _rounded(x: Array, scale: Array, zero: Array, ends: tuple[int, int], whole: bool) -> Array:
    q = jnp.clip(_integers(x, scale, zero, whole), *ends)
    return ((q - zero) * scale).astype(x.dtype)


@_rounded.defjvp
def _slope_of_rounded(
    ends: tuple[int, int], whole: bool, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    x, scale, zero = primals
    q = _integers(x, scale, zero, whole)
    inside = (q >= ends[0]) & (q <= ends[1])
    output = _rounded(x, scale, zero, ends, whole)
    return output, jnp.where(inside, tangents[0], jnp.zeros_like(tangents[0]))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _learned(x: Array, scale: Array, zero: Array, ends: tuple[int, int]) -> Array:
    return _rounded(x, scale, zero, ends, True)


@_learned.defjvp
def _slope_of_learned(ends: tuple[int, int], primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, scale, zero = primals
    q = _integers(x, scale, zero, True)
    inside = (q >= ends[0]) & (q <= ends[1])
    from_x, from_scale, from_zero = tangents
    by_scale = jnp.where(inside, q - zero - x * (1 / scale), jnp.clip(q, *ends) - zero)
    moved = jnp.where(inside, from_x, -scale * from_zero)
    return _learned(x, scale, zero, ends), moved + by_scale * from_scale


@jax.custom_jvp
def _nearest(x: Array) -> Array:
    """Round; the derivative is that of the identity."""
    return jnp.round(x)


@_nearest.defjvp
def _slope_of_nearest(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _nearest(*primals), tangents[0]


def _with_gradient(value: Array, factor: float) -> Array:
    """Keep a value, and multiply its gradient."""
    constant = jax.lax.stop_gradient(value)
    return constant + factor * (value - constant)
