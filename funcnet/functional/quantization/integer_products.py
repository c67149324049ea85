"""Products of 8-bit integers: activations are rounded as they come, or by a scale that is known, weights are already.

A linear layer multiplies bytes and adds in 32 bits. XLA's convolutions of integers are slow on CPUs (twenty times
slower than those of floats, measured) and missing on GPUs, so a convolution holds its integers in float32, and adds few
enough of them at a time that every sum is exact.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.convolution.plain import convolve
from funcnet.functional.convolution.settings import ConvolutionSettings
from funcnet.functional.linear import linear
from funcnet.functional.promotion import add_bias

__all__ = ["integer_linear", "integer_matmul"]

LEAST, GREATEST = -128, 127
TERMS = 2**24 // (255 * 128)
"""How many products of an activation, less its zero point, and a weight float32 adds without rounding."""


def integer_matmul(a: Array, b: Array) -> Array:
    """Multiply two matrices of 8-bit integers: ``output[i, j] = Σ_k a[i, k] b[k, j]``; the sums have 32 bits.

    Args:
        a: ``(*, n, k)``, int8.
        b: ``(k, m)``, int8.

    Returns:
        ``(*, n, m)``, int32.

    Raises:
        TypeError: an array has another dtype.
        ValueError: the shapes do not fit.

    Example:
        >>> F.integer_matmul(jnp.full((1, 200), 127, jnp.int8), jnp.full((200, 1), -127, jnp.int8)).tolist()
        [[-3225800]]

    Reference: ``torch._int_mm``.
    """
    for name, array in {"a": a, "b": b}.items():
        if array.dtype != jnp.int8:
            raise TypeError(
                f"integer_matmul: {name} must hold int8; got {array.dtype}: write {name}.astype(jnp.int8)"
            )
    if a.ndim < 1 or b.ndim != 2 or a.shape[-1] != b.shape[0]:
        raise ValueError(
            f"integer_matmul takes (*, n, k) and (k, m) with the same k; got {a.shape} and {b.shape}"
        )
    return _summed(a, b, 0)


def integer_linear(
    input: Array,
    values: Array,
    scales: Array,
    bias: Array | None = None,
    *,
    input_scale: ArrayLike | None = None,
    input_zero_point: ArrayLike | None = None,
    input_ends: tuple[int, int] = (LEAST, GREATEST),
    dynamic: str = "row",
) -> Array:
    r"""Apply an affine map whose weight, and for the time of the product whose input, are 8-bit integers.

    .. math:: q = \operatorname{round}(x / s_x) + z_x, \qquad
        y_o = s_x s_o \sum_i (q_i - z_x) w_{oi} + b_o

    Gradients of the input and bias are those of `linear` with the weight ``values * scales[:, None]``; integers and
    scales are constants.

    Args:
        input: ``(*, in)``, floats.
        values: ``(out, in)``, int8.
        scales: ``(out,)``, or one number.
        bias: ``(out,)``.
        input_scale: of the input's integers, known beforehand; None to find it as the input comes, symmetrically.
        input_zero_point: the integer from -128 to 127 that stands for 0; None for 0. With ``input_scale`` alone.
        input_ends: the least and the greatest integer of the input, of those of 8 bits.
        dynamic: where the scale is found: ``"row"``, one for each row of the input, or ``"tensor"``, one for all.

    Returns:
        ``(*, out)``, of the input's dtype.

    Raises:
        TypeError: the input holds no floats, or the values are not int8.
        ValueError: shapes do not fit, or a zero point is given without a scale.

    Example:
        >>> values, scales = jnp.array([[100, -50]], jnp.int8), jnp.array([0.01])
        >>> F.integer_linear(jnp.array([[1.0, 1.0]]), values, scales).round(3).tolist()
        [[0.5]]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.ao.nn.quantized.dynamic.Linear.html, which has
    a scale for all rows, and a zero point; rows: Yao et al., ZeroQuant, 2022, https://arxiv.org/abs/2206.01861.
    """
    (input,) = as_floats("integer_linear", input=input)
    if values.dtype != jnp.int8 or values.ndim != 2:
        raise TypeError(
            f"integer_linear: values must be an int8 matrix (out, in); got {values.dtype} {values.shape}"
        )
    if input.ndim == 0 or input.shape[-1] != values.shape[1]:
        raise ValueError(
            f"integer_linear: the last axis of input must have the {values.shape[1]} features of the values "
            f"{values.shape}; got an input of shape {input.shape}"
        )
    if jnp.shape(scales) not in ((), values.shape[:1]):
        raise ValueError(
            f"integer_linear: scales must have shape {values.shape[:1]}, one for each output; got {jnp.shape(scales)}"
        )
    check_choice("dynamic", dynamic, ("row", "tensor"))
    if input_scale is None:
        if input_zero_point is not None:
            raise ValueError("input_zero_point is given without input_scale")
        input_scale = dynamic_scale(input, (-1,) if dynamic == "row" else None)
    given = (input, values, jnp.asarray(scales), input_scale, input_zero_point)
    output = _product(_linear, input_ends, *given)
    return output if bias is None else add_bias(output, bias.astype(output.dtype))


def integer_convolve(
    input: Array,
    values: Array,
    scales: Array,
    bias: Array | None,
    settings: ConvolutionSettings,
    *,
    input_scale: ArrayLike | None = None,
    input_zero_point: ArrayLike | None = None,
    input_ends: tuple[int, int] = (LEAST, GREATEST),
    dynamic: str = "row",
) -> Array:
    """Convolve with a filter, and an input, of 8-bit integers; arguments as in `integer_linear`.

    A scale found for each ``"row"`` is one for each image.
    """
    (input,) = as_floats("integer_convolve", input=input)
    if input_scale is None:
        axes = tuple(range(-len(settings.stride) - 1, 0))
        input_scale = dynamic_scale(input, axes if dynamic == "row" else None)
    form = partial(_convolution, settings=settings)
    given = (input, values, jnp.asarray(scales), input_scale, input_zero_point)
    output = _product(form, input_ends, *given)
    if bias is None:
        return output
    where = (
        (-1,) if settings.channels_last else (-1, *(1 for _ in settings.stride))
    )  # axis of channels
    return add_bias(output, bias.astype(output.dtype).reshape(where))


def dynamic_scale(input: Array, axes: tuple[int, ...] | None) -> Array:
    """Return the scale by which an array's largest numbers become 127; axes are kept.

    Example:
        >>> from funcnet.functional.quantization.integer_products import dynamic_scale
        >>> dynamic_scale(jnp.array([[127.0, -254.0]]), (-1,)).tolist()
        [[2.0]]
    """
    wide = jax.lax.stop_gradient(input).astype(at_least_float32(input.dtype))
    largest = jnp.max(jnp.abs(wide), axis=axes, keepdims=axes is not None, initial=0)
    return jnp.where(largest > 0, largest / GREATEST, jnp.ones_like(largest))


def to_int8(
    input: Array,
    scale: ArrayLike,
    zero_point: ArrayLike | None,
    ends: tuple[int, int] = (LEAST, GREATEST),
) -> Array:
    """Round floats to 8-bit integers, and bring into the range what lies outside.

    Example:
        >>> from funcnet.functional.quantization.integer_products import to_int8
        >>> to_int8(jnp.array([0.3, 99.0]), 0.1, -10).tolist()
        [-7, 127]
    """
    wide = at_least_float32(input.dtype)
    whole = jnp.round(input.astype(wide) * (1 / jnp.asarray(scale).astype(wide)))
    if zero_point is not None:
        whole += jnp.asarray(zero_point).astype(wide)
    return jnp.clip(whole, *ends).astype(jnp.int8)


Form = Callable[..., Array]
"""``(input, values, zero_point, output scale) -> output``: int8 data, or floats with a zero point of None."""


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _product(
    form: Form,
    ends: tuple[int, int],
    input: Array,
    values: Array,
    scales: Array,
    scale: Any,
    zero_point: Any,
) -> Array:
    """Return the product of the integers that an input and a weight stand for, times both scales."""
    wide = at_least_float32(input.dtype)
    scale = jnp.asarray(scale).astype(wide)
    whole = to_int8(input, scale, zero_point, ends)
    return (form(whole, values, scales.astype(wide), zero_point) * scale).astype(input.dtype)


@_product.defjvp
def _slope_of_product(
    form: Form, ends: tuple[int, int], primals: Any, tangents: Any
) -> tuple[Array, Array]:
    input, values, scales, *_ = primals
    output = _product(form, ends, *primals)
    wide = at_least_float32(input.dtype)
    slope = form(tangents[0].astype(wide), values, scales.astype(wide), None)
    return output, slope.astype(input.dtype)


def _linear(input: Array, values: Array, scales: Array, zero_point: Any) -> Array:
    if input.dtype != jnp.int8:
        return linear(input, values.astype(input.dtype)) * scales
    total = _summed(input, values, 1)
    if zero_point is not None:
        rows = jnp.sum(values, axis=1, dtype=jnp.int32)
        total = total - jnp.asarray(zero_point).astype(jnp.int32) * rows
    return total.astype(scales.dtype) * scales


def _summed(a: Array, b: Array, axis: int) -> Array:
    contract = (((a.ndim - 1,), (axis,)), ((), ()))
    return jax.lax.dot_general(a, b, contract, preferred_element_type=jnp.int32)


def _convolution(
    input: Array, values: Array, scales: Array, zero_point: Any, settings: ConvolutionSettings
) -> Array:
    whole = input.dtype == jnp.int8
    images = input.astype(scales.dtype)
    if whole and zero_point is not None:
        images = images - jnp.asarray(zero_point).astype(scales.dtype)
    filters = values.astype(scales.dtype)
    if scales.ndim and not settings.channels_last:
        scales = scales.reshape(-1, *(1 for _ in settings.stride))
    return _in_pieces(images, filters, settings, whole) * scales


def _in_pieces(images: Array, filters: Array, settings: ConvolutionSettings, exact: bool) -> Array:
    """Convolve; a sum of many integers is made of sums that float32 holds exactly, which are added as integers."""
    channels, area = filters.shape[1], math.prod(filters.shape[2:])
    few = max(1, TERMS // area)
    if not exact or channels <= few or settings.groups > 1:
        return convolve(images, filters, None, settings)
    axis = images.ndim - 1 if settings.channels_last else images.ndim - len(settings.stride) - 1
    total: Any = 0
    for start in range(0, channels, few):
        end = min(channels, start + few)
        part = jax.lax.slice_in_dim(images, start, end, axis=axis)
        piece = convolve(part, filters[:, start:end], None, settings)
        total = total + piece.astype(jnp.int32)
    return total.astype(images.dtype)
