"""Numbers as whole numbers of few bits: ``x ≈ (q - zero_point) · scale``.

`quantize_linear` and `dequantize_linear` are ONNX's operators of these names, and PyTorch's ``quantize_per_tensor``
and ``quantize_per_channel``; `funcnet.export.onnx` writes a call of them as that one operator.
"""

from functools import cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.dtypes import as_floats
from funcnet.core.marks import marked

__all__ = ["code_range", "dequantize_linear", "quantize_linear", "scale_and_zero_point"]

TINY = float(np.finfo(np.float32).tiny)
"""The least scale: smaller ones are 0 where a processor rounds subnormal numbers away."""


def code_range(bits: int = 8, signed: bool = True, symmetric: bool = False) -> tuple[int, int]:
    """Return the least and the largest whole number of so many bits.

    ``-2^(bits - 1)`` and ``2^(bits - 1) - 1``; unsigned, 0 and ``2^bits - 1``.

    Args:
        bits: 2 to 8.
        signed: whether half of them are negative.
        symmetric: leave the least one out, so that as many are negative as are positive.

    Returns:
        Both numbers.

    Raises:
        ValueError: another number of bits.

    Example:
        >>> F.code_range(8), F.code_range(4, signed=False), F.code_range(8, symmetric=True)
        ((-128, 127), (0, 15), (-127, 127))
    """
    check_choice("bits", bits, range(2, 9))
    half = 1 << (bits - 1)
    return (int(symmetric) - half, half - 1) if signed else (0, 2 * half - 1)


def scale_and_zero_point(
    low: ArrayLike,
    high: ArrayLike,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = True,
    dtype: DType = jnp.float32,
) -> tuple[Array, Array]:
    """Choose scales and zero points with which numbers from ``low`` to ``high`` can be written in few bits.

    The range always holds 0, which is written exactly. Symmetric: ``scale = max(|low|, |high|) / largest``, the zero
    point 0, or the middle of unsigned numbers. Otherwise ``scale = (high - low) / (2 ** bits - 1)``. A range of
    nothing but 0 has the scale 1; one that is NaN or infinite has the scale NaN, so that what it stands for stays
    visible.

    Args:
        low: the least number of each group, of any shape.
        high: the largest.
        bits: of the whole numbers, 2 to 8.
        signed: whether half of them are negative.
        symmetric: whether the range reaches as far below 0 as above.
        dtype: of the scales; the zero points are chosen for the scale as rounded to it.

    Returns:
        Scales, and zero points as int8 or uint8.

    Raises:
        ValueError: a number of bits that is not served.

    Example:
        >>> scale, zero_point = F.scale_and_zero_point(-1.0, 3.0, signed=False, symmetric=False)
        >>> round(float(scale), 6), int(zero_point)
        (0.015686, 64)

    Reference: ``torch.ao.quantization.MinMaxObserver.calculate_qparams``.
    """
    least, largest = code_range(bits, signed, symmetric)
    low = jnp.minimum(jnp.asarray(low, jnp.float32), 0.0)
    high = jnp.maximum(jnp.asarray(high, jnp.float32), 0.0)
    integers = jnp.int8 if signed else jnp.uint8
    if symmetric:
        wide = jnp.maximum(-low, high) / (largest - (0 if signed else (largest + 1) // 2))
        scale = _usable(wide, dtype)
        middle = 0 if signed else (largest + 1) // 2
        return scale, jnp.full(scale.shape, middle, integers)
    scale = _usable(high / (largest - least) - low / (largest - least), dtype)
    exact = least - low / scale.astype(jnp.float32)
    zero_point = jnp.clip(jnp.round(jnp.nan_to_num(exact)), least, largest)
    return scale, zero_point.astype(integers)


def _usable(scale: Array, dtype: DType) -> Array:
    """Round scales; 1 where there is nothing but 0, NaN where no number would do."""
    least = max(TINY, float(jnp.finfo(dtype).smallest_subnormal))
    rounded = jnp.maximum(scale, least).astype(dtype)
    rounded = jnp.where(jnp.isfinite(rounded), rounded, jnp.asarray(jnp.nan, dtype))
    return jnp.where(scale == 0, jnp.ones((), dtype), rounded)


def quantize_linear(
    input: Array,
    scale: ArrayLike,
    zero_point: ArrayLike | None = None,
    *,
    axis: int | None = None,
    block: int | None = None,
    bits: int = 8,
    signed: bool = True,
) -> Array:
    """Round to whole numbers: ``clip(round(x / scale) + zero_point)``, halves to the even neighbour.

    ``export.onnx`` writes it as QuantizeLinear. It has no gradient: see the fake quantization for training.

    Args:
        input: floats.
        scale: one number; along ``axis``, as many as it is long; with ``block``, as many axes as ``input``, of which
            ``axis`` has one for each ``block`` places.
        zero_point: like ``scale``; None for 0.
        axis: along which scales differ; None for one scale.
        block: how many neighbours along ``axis`` share a scale; the last ones may be fewer.
        bits: of the whole numbers, 2 to 8.
        signed: whether half of them are negative.

    Returns:
        int8, or uint8 without ``signed``, of the shape of ``input``. NaN becomes the zero point.

    Raises:
        ValueError: scales of another shape.
        TypeError: the input holds no floats.

    Example:
        >>> F.quantize_linear(jnp.array([-1.0, 0.26, 9.0]), 0.5).tolist()
        [-2, 1, 18]
        >>> F.quantize_linear(jnp.array([[1.0], [1.0]]), jnp.array([1.0, 0.5]), axis=0).tolist()
        [[1], [2]]

    Reference: ``torch.quantize_per_tensor``; https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
    """
    (input,) = as_floats("quantize_linear", input=input)
    code_range(bits, signed)
    place = _place(input, axis, block)
    scales = _scales(
        input.shape, scale, zero_point, place, block, jnp.int8 if signed else jnp.uint8
    )
    return _quantizer(input.ndim, place, block, bits, signed)(input, *scales)


def dequantize_linear(
    input: Array,
    scale: ArrayLike,
    zero_point: ArrayLike | None = None,
    *,
    axis: int | None = None,
    block: int | None = None,
    dtype: DType = jnp.float32,
) -> Array:
    """Return the numbers that whole numbers stand for: ``(q - zero_point) · scale``, computed in float32.

    ``export.onnx`` writes it as DequantizeLinear.

    Args:
        input: whole numbers of at most 8 bits.
        scale: as of `quantize_linear`.
        zero_point: as of `quantize_linear`.
        axis: as of `quantize_linear`.
        block: as of `quantize_linear`.
        dtype: of the result.

    Returns:
        Floats of the shape of ``input``.

    Raises:
        ValueError: scales of another shape.
        TypeError: the input holds no whole numbers of 8 bits.

    Example:
        >>> F.dequantize_linear(jnp.array([[1, 2, 3]], jnp.int8), jnp.array([[1.0, 0.5]]), axis=1, block=2).tolist()
        [[1.0, 2.0, 1.5]]

    Reference: ``torch.dequantize``; https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
    """
    input = jnp.asarray(input)
    if input.dtype not in (jnp.int8, jnp.uint8):
        raise TypeError(
            f"dequantize_linear takes int8 or uint8; got {input.dtype.name}: write input.astype(jnp.int8)"
        )
    place = _place(input, axis, block)
    scales = _scales(input.shape, scale, zero_point, place, block, input.dtype)
    made = _dequantizer(input.ndim, place, block)(input, *scales)
    return made.astype(dtype)


def _place(input: Array, axis: int | None, block: int | None) -> int | None:
    """Check the axis; return it counted from the front."""
    if block is not None:
        check_positive("block", block)
    if axis is None:
        if block is not None:
            raise ValueError(
                f"block={block} needs axis: along which axis do {block} places share a scale?"
            )
        return None
    if not -input.ndim <= axis < input.ndim:
        raise ValueError(f"axis must be one of an array of {input.ndim} axes; got {axis}")
    return axis % input.ndim


def _scales(
    shape: tuple[int, ...],
    scale: ArrayLike,
    zero_point: ArrayLike | None,
    axis: int | None,
    block: int | None,
    integers: Any,
) -> tuple[Array, ...]:
    """Check scales and zero points against the shape of what they are for."""
    expected: tuple[int, ...] = () if axis is None else (shape[axis],)
    if axis is not None and block is not None:
        expected = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
    scale = jnp.asarray(scale)
    (scale,) = as_floats("quantization", scale=scale)
    given = [("scale", scale)]
    if zero_point is not None:
        given.append(("zero_point", jnp.asarray(zero_point).astype(integers)))
    for name, array in given:
        if array.shape != expected:
            raise ValueError(
                f"{name} must have shape {expected} for an array of shape {shape}, axis={axis}, block={block}; "
                f"got {array.shape}"
            )
    return tuple(array for _, array in given)


@cache
def _quantizer(ndim: int, axis: int | None, block: int | None, bits: int, signed: bool) -> Any:
    run = partial(_quantize, axis=axis, block=block, bits=bits, signed=signed)
    return marked(
        run, "quantize_linear", ndim=ndim, axis=axis, block=block, bits=bits, signed=int(signed)
    )


@cache
def _dequantizer(ndim: int, axis: int | None, block: int | None) -> Any:
    run = partial(_dequantize, axis=axis, block=block)
    return marked(run, "dequantize_linear", ndim=ndim, axis=axis, block=block)


def _quantize(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    *,
    axis: int | None,
    block: int | None,
    bits: int,
    signed: bool,
) -> Array:
    least, largest = code_range(bits, signed)
    codes = jnp.round(x.astype(jnp.float32) / _spread(scale, x.shape, axis, block))
    codes = jnp.where(jnp.isnan(codes), 0, codes)  # XLA may make any whole number of NaN
    if zero_point is not None:
        codes = codes + _spread(zero_point, x.shape, axis, block)
    return jnp.clip(codes, least, largest).astype(jnp.int8 if signed else jnp.uint8)


def _dequantize(
    q: Array,
    scale: Array,
    zero_point: Array | None = None,
    *,
    axis: int | None,
    block: int | None,
) -> Array:
    codes = q.astype(jnp.float32)
    if zero_point is not None:
        codes = codes - _spread(zero_point, q.shape, axis, block)
    return codes * _spread(scale, q.shape, axis, block)


def _spread(values: Array, shape: tuple[int, ...], axis: int | None, block: int | None) -> Array:
    """Give each place of an array its scale, in float32."""
    values = values.astype(jnp.float32)
    if axis is None:
        return values
    if block is None:
        return values.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    count = values.shape[axis]
    wide = jnp.broadcast_to(
        jnp.expand_dims(values, axis + 1), (*shape[:axis], count, block, *shape[axis + 1 :])
    )
    wide = wide.reshape(*shape[:axis], count * block, *shape[axis + 1 :])
    return wide if count * block == shape[axis] else jnp.take(wide, np.arange(shape[axis]), axis)
