"""Depthwise convolution as a sum over the elements of a filter: on CPU many times quicker than XLA's grouped kernel.

One image at a time: the products with one element, of which the weights' gradient is the sum, then stay in the cache.
Images that devices share out are taken all at once: each step of a loop would have one image, on one device.
"""

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.windows import Windows, pad_axes, spatial_axes

__all__ = ["depthwise", "is_depthwise"]

_MOST_ELEMENTS = 64
"""Elements of a filter up to which one slice each is compiled in reasonable time."""


def is_depthwise(weight: Array, groups: int) -> bool:
    """Say whether each output channel reads one input channel, through a small enough filter."""
    return groups > 1 and weight.shape[1] == 1 and prod(weight.shape[2:]) <= _MOST_ELEMENTS


# Compiled here, because outside of jit the loop would be compiled each time.
@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def depthwise(
    input: Array,
    weight: Array,
    stride: tuple[int, ...],
    margins: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    channels_last: bool,
    one_at_a_time: bool,
) -> Array:
    """Convolve images ``(N, C, ...)`` with ``(C * m, 1, ...)``: each channel with ``m`` filters of its own."""

    @partial(jax.checkpoint, prevent_cse=False)  # its many slices are to be made again, not kept
    def image(x: Array, weight: Array) -> Array:
        return _one_image(x, weight, stride, margins, dilation, channels_last)

    # sums of 16-bit floats are kept in 32 bits, as XLA's convolution keeps them; integers are exact
    floating = jnp.issubdtype(input.dtype, jnp.inexact)
    filters = weight.astype(at_least_float32(weight.dtype)) if floating else weight
    if not one_at_a_time:
        return jax.vmap(image, (0, None))(input, filters)
    return lax.map(lambda x: image(x, filters), input)


def _one_image(
    input: Array,
    weight: Array,
    stride: Sequence[int],
    margins: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    channels_last: bool,
) -> Array:
    axes = weight.ndim - 2
    where = spatial_axes(input.ndim, axes, channels_last)
    channels = input.shape[-1 if channels_last else 0]
    multiplier = weight.shape[0] // channels
    settings = zip(
        [input.shape[axis] for axis in where],
        weight.shape[2:],
        stride,
        dilation,
        margins,
        strict=True,
    )
    over = [
        Windows(n, k, s, d, low, high, (n + low + high - d * (k - 1) - 1) // s + 1)
        for n, k, s, d, (low, high) in settings
    ]
    # an axis for the filters of a channel, beside that of the channels
    padded = jnp.expand_dims(
        pad_axes(input, where, margins).astype(weight.dtype), -1 if channels_last else 1
    )
    where = where if channels_last else tuple(axis + 1 for axis in where)
    filters = weight.reshape(channels, multiplier, *weight.shape[2:])
    shape = (channels, multiplier) if channels_last else (channels, multiplier, *(1,) * axes)
    terms = []
    for offsets in product(*(range(window.kernel) for window in over)):
        seen = padded
        for axis, window, offset in zip(where, over, offsets, strict=True):
            seen = window.element(seen, axis, offset)
        terms.append(seen * filters[(..., *offsets)].reshape(shape))
    total = reduce(add, terms)
    sizes = tuple(window.output for window in over)
    flat = (*sizes, weight.shape[0]) if channels_last else (weight.shape[0], *sizes)
    return total.astype(input.dtype).reshape(flat)
