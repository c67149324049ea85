"""Average pooling in one to three dimensions, over fixed and adaptive windows.

The sum over a box is the sum along one axis after another, each a few strided slices added up.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add, mul
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.pooling.linear_map import sums_at_places
from funcnet.functional.pooling.max import check_padding
from funcnet.functional.windows import (
    UnevenWindows,
    Windows,
    adaptive_windows,
    check_spatial,
    pad_axes,
    real_numbers,
    sliding_windows,
    spatial_axes,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
]


_FEW_ELEMENTS = 8
"""Elements of a window up to which one slice each beats other forms of the sum."""


def _sum_over_axis(input: Array, axis: int, window: Windows | UnevenWindows) -> Array:
    if isinstance(window, UnevenWindows):
        return sums_at_places(input, window.places, axis)
    if window.kernel <= _FEW_ELEMENTS:
        return reduce(add, (window.element(input, axis, t) for t in range(window.kernel)))
    if window.is_disjoint:
        return jnp.sum(window.split(input, axis), axis + 1)
    kernel, stride = [1] * input.ndim, [1] * input.ndim
    kernel[axis], stride[axis] = window.kernel, window.stride
    return lax.reduce_window(input, np.zeros((), input.dtype), lax.add, kernel, stride, "VALID")


def _divide(total: Array, counts: np.ndarray) -> Array:
    """Divide by the number of elements of each window; whole numbers round towards zero."""
    if counts.size == 1 and counts == 1:
        return total
    divisor = counts.astype(total.dtype)
    if jnp.issubdtype(total.dtype, jnp.inexact):
        return total / divisor
    return lax.div(total, jnp.broadcast_to(divisor, total.shape))


def _grid(per_axis: Sequence[np.ndarray], where: Sequence[int], ndim: int) -> np.ndarray:
    """Multiply the counts of each axis to those of the boxes; one number if all are equal."""
    shaped = [
        np.reshape(counts, [-1 if i == axis else 1 for i in range(ndim)])
        for counts, axis in zip(per_axis, where, strict=True)
    ]
    grid = np.asarray(reduce(mul, shaped))
    return grid.reshape(-1)[0] if grid.size and (grid == grid.flat[0]).all() else grid


def _average(
    input: Array,
    where: Sequence[int],
    over: Sequence[Windows | UnevenWindows],
    counts: Sequence[np.ndarray] | int,
) -> Array:
    """Sum each window, floats in 32 bits at least and integers exactly, and divide by its count."""
    dtype = input.dtype
    floating = jnp.issubdtype(dtype, jnp.inexact)
    total = input.astype(at_least_float32(dtype)) if floating else input
    total = pad_axes(total, where, [(window.low, window.high) for window in over])
    pairs = list(zip(where, over, strict=True))
    whole = [axis for axis, window in pairs if isinstance(window, Windows) and window.is_whole_axis]
    if whole:
        total = jnp.sum(total, tuple(whole), keepdims=True)
    # Evenly spaced windows: the last axis first. Gathers are cheapest where the elements they take are longest.
    uneven = any(isinstance(window, UnevenWindows) for window in over)
    for axis, window in pairs if uneven else reversed(pairs):
        if axis not in whole:
            total = _sum_over_axis(total, axis, window)
    divisor = np.asarray(counts) if isinstance(counts, int) else _grid(counts, where, input.ndim)
    return _divide(total, divisor).astype(dtype)


def _counts(window: Windows, padding: int, count_include_pad: bool) -> np.ndarray:
    """Count the elements of each window: never those that ``ceil_mode`` adds past the padding."""
    starts = np.arange(window.output) * window.stride - padding
    ends = np.minimum(starts + window.kernel, window.size + padding)
    if count_include_pad:
        return ends - starts
    return np.minimum(ends, window.size) - np.maximum(starts, 0)


def _avg_pool(
    axes: int,
    input: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    channels_last: bool,
) -> Array:
    input = real_numbers(f"avg_pool{axes}d", input)
    check_spatial(f"avg_pool{axes}d", input, axes, channels_last)
    check_padding(padding, kernel_size, axes)
    if divisor_override == 0:
        raise ValueError("divisor_override must not be zero")
    where = spatial_axes(input.ndim, axes, channels_last)
    over = sliding_windows(
        [input.shape[axis] for axis in where], kernel_size, stride, padding, 1, ceil_mode
    )
    if axes == 3 and any(
        window.kernel > window.size for window in over
    ):  # PyTorch asks this of 3d only
        raise ValueError(
            f"avg_pool3d: kernel_size must not exceed the input's sizes; got {kernel_size} for {input.shape}"
        )
    counts = divisor_override or [_counts(w, w.low, count_include_pad) for w in over]
    return _average(input, where, over, counts)


def avg_pool1d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    channels_last: bool = False,
) -> Array:
    """Take the mean of each window of a sequence.

    ``output[..., x] = mean_t input[..., stride * x + t - padding]``

    Args:
        input: ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``.
        kernel_size: elements of a window.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep a last window that reaches past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, L_out)`` with ``L_out = floor((L + 2 padding - kernel_size) / stride) + 1``
        (``ceil`` with ``ceil_mode``).

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers; means of integers are rounded towards zero.

    Example:
        >>> F.avg_pool1d(jnp.array([[1.0, 3.0, 5.0, 9.0]]), 2)
        Array([[2., 7.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool1d.html
    """
    return _avg_pool(
        1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, channels_last
    )


def avg_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    channels_last: bool = False,
) -> Array:
    """Take the mean of each window of an image: `avg_pool1d` over two spatial axes.

    ``output[..., y, x] = mean_{s, t} input[..., stride * y + s - padding, stride * x + t - padding]``

    Args:
        input: ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``.
        kernel_size: elements of a window, one number or one an axis; so are the next two.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep last windows that reach past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        divisor_override: divide each sum by this number instead.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``, sizes as in `avg_pool1d`.

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers; means of integers are rounded towards zero.

    Example:
        >>> F.avg_pool2d(jnp.arange(16.0).reshape(1, 4, 4), 2)
        Array([[[ 2.5,  4.5],
                [10.5, 12.5]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html
    """
    settings = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(2, input, *settings, channels_last)


def avg_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    channels_last: bool = False,
) -> Array:
    """Take the mean of each window of a volume: `avg_pool1d` over three spatial axes.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        kernel_size: elements of a window, one number or one an axis; so are the next two.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep last windows that reach past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        divisor_override: divide each sum by this number instead.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``, sizes as in `avg_pool1d`.

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers; means of integers are rounded towards zero.

    Example:
        >>> F.avg_pool3d(jnp.ones((1, 2, 4, 6, 6)), (2, 3, 3)).shape
        (1, 2, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool3d.html
    """
    settings = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(3, input, *settings, channels_last)


def _adaptive_avg_pool(axes: int, input: Array, output_size: Any, channels_last: bool) -> Array:
    (input,) = as_floats(f"adaptive_avg_pool{axes}d", input=input)
    check_spatial(f"adaptive_avg_pool{axes}d", input, axes, channels_last)
    where = spatial_axes(input.ndim, axes, channels_last)
    over = adaptive_windows([input.shape[axis] for axis in where], output_size)
    counts = [
        np.full(w.output, w.kernel) if isinstance(w, Windows) else np.asarray(w.lengths, int)
        for w in over
    ]
    return _average(input, where, over, counts)


def adaptive_avg_pool1d(
    input: Array, output_size: int | Sequence[int], *, channels_last: bool = False
) -> Array:
    """Take the mean of each of ``output_size`` windows that cover a sequence.

    Window ``i`` runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    Args:
        input: ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``.
        output_size: number of windows ``L_out``.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, L_out)``.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds no floats.

    Example:
        >>> F.adaptive_avg_pool1d(jnp.arange(5.0)[None], 2)
        Array([[1., 3.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool1d.html
    """
    return _adaptive_avg_pool(1, input, output_size, channels_last)


def adaptive_avg_pool2d(
    input: Array, output_size: int | Sequence[int | None] | None, *, channels_last: bool = False
) -> Array:
    """Take the mean of each of a grid of windows that cover an image: `adaptive_avg_pool1d` twice.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``.
        output_size: windows an axis, one number or two; ``None`` keeps an axis.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds no floats.

    Example:
        >>> F.adaptive_avg_pool2d(jnp.ones((1, 3, 10, 9)), (5, None)).shape
        (1, 3, 5, 9)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
    """
    return _adaptive_avg_pool(2, input, output_size, channels_last)


def adaptive_avg_pool3d(
    input: Array, output_size: int | Sequence[int | None] | None, *, channels_last: bool = False
) -> Array:
    """Take the mean of each of a grid of windows that cover a volume: `adaptive_avg_pool1d` thrice.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        output_size: windows an axis, one number or three; ``None`` keeps an axis.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds no floats.

    Example:
        >>> F.adaptive_avg_pool3d(jnp.ones((1, 3, 7, 10, 9)), 2).shape
        (1, 3, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool3d.html
    """
    return _adaptive_avg_pool(3, input, output_size, channels_last)
