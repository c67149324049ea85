"""Depthwise convolution as a sum over taps: on CPU some twenty times quicker than XLA's grouped kernel."""

from collections.abc import Sequence
from itertools import product
from math import prod

import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.functional.windows import Windows, pad_axes, spatial_axes

__all__ = ["depthwise", "is_depthwise"]

_MOST_TAPS = 64
"""Taps up to which one slice each is compiled in reasonable time."""


def is_depthwise(weight: Array, groups: int) -> bool:
    """Say whether each output channel reads one input channel, through few enough taps."""
    return groups > 1 and weight.shape[1] == 1 and prod(weight.shape[2:]) <= _MOST_TAPS


def depthwise(
    input: Array,
    weight: Array,
    stride: Sequence[int],
    margins: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    channels_last: bool,
) -> Array:
    """Convolve ``(N, C, ...)`` with ``(C * m, 1, ...)``: each channel with ``m`` filters of its own."""
    axes = weight.ndim - 2
    where = spatial_axes(input.ndim, axes, channels_last)
    channels = input.shape[-1 if channels_last else 1]
    multiplier = weight.shape[0] // channels
    over = [
        Windows(n, k, s, d, low, high, (n + low + high - d * (k - 1) - 1) // s + 1)
        for n, k, s, d, (low, high) in zip(
            [input.shape[axis] for axis in where],
            weight.shape[2:],
            stride,
            dilation,
            margins,
            strict=True,
        )
    ]
    # sums of 16-bit numbers are kept in 32 bits, as XLA's convolution keeps them
    narrow = jnp.finfo(input.dtype).bits < 32
    wide = jnp.float32 if narrow else input.dtype
    padded = pad_axes(input, where, margins).astype(wide)
    if multiplier > 1:
        padded = jnp.expand_dims(padded, input.ndim if channels_last else 2)
        where = where if channels_last else tuple(axis + 1 for axis in where)
    filters = weight.reshape(
        channels, *((multiplier,) if multiplier > 1 else ()), *weight.shape[2:]
    )
    shape = filters.shape[: filters.ndim - axes] + (() if channels_last else (1,) * axes)
    total = None
    for offsets in product(*(range(window.kernel) for window in over)):
        seen = padded
        for axis, window, offset in zip(where, over, offsets, strict=True):
            seen = window.tap(seen, axis, offset)
        term = seen * filters[(..., *offsets)].reshape(shape).astype(wide)
        total = term if total is None else total + term
    assert total is not None
    sizes = tuple(window.output for window in over)
    outputs = (weight.shape[0],)
    shape = (*sizes, *outputs) if channels_last else (*outputs, *sizes)
    return lax.convert_element_type(total.reshape(input.shape[0], *shape), input.dtype)
