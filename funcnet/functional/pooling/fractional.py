"""Fractional maximum pooling: windows at random, nearly even distances, for any output size."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_positive, per_axis
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.core.errors import MissingKeyError
from funcnet.core.keys import key_for_part
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.pooling.window_maximum import Maxima, elements_as_maxima, maximum_over_axis
from funcnet.functional.windows import check_spatial, integers_per_axis, real_numbers

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]


def _starts(sample: Array, size: int, kernel: int, output: int) -> Array:
    """Return where each window starts, ``(..., output)`` for samples ``(...)`` in ``[0, 1)``."""
    last = jnp.full((*sample.shape, 1), size - kernel)
    if output == 1:
        return last
    alpha = jnp.asarray((size - kernel) / (output - 1), sample.dtype)
    index = jnp.arange(output - 1).astype(sample.dtype)
    sample = sample[..., None]
    starts = jnp.trunc((index + sample) * alpha) - jnp.trunc(sample * alpha)
    return jnp.concatenate([starts.astype(last.dtype), last], -1)


def _gather_windows(found: Maxima, axis: int, starts: Array, kernel: int) -> Maxima:
    """Reduce each plane's windows along one axis (counted from the end)."""
    places = starts[..., None] + jnp.arange(kernel)
    planes = starts.ndim - 1
    shape = [1] * found.value.ndim
    shape[:planes] = starts.shape[:-1]
    shape[axis] = places.shape[-2] * kernel
    index = places.reshape(shape)

    def split(x: Array) -> Array:
        x = jnp.take_along_axis(jnp.broadcast_to(x, found.value.shape), index, axis)
        return x.reshape(*x.shape[:axis], starts.shape[-1], kernel, *x.shape[axis:][1:])

    return maximum_over_axis(found.map(split), found.value.ndim + axis + 1)


def _sizes(axes: int, input: Array, output_size: Any, output_ratio: Any) -> tuple[int, ...]:
    name = f"fractional_max_pool{axes}d"
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: give either output_size or output_ratio")
    if output_ratio is None:
        return integers_per_axis("output_size", output_size, axes)
    ratios = per_axis("output_ratio", output_ratio, axes)
    return tuple(int(n * r) for n, r in zip(input.shape[-axes:], ratios, strict=True))


def _fractional_max_pool(
    axes: int,
    input: Array,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Array | None,
    key: Key | None,
) -> Any:
    name = f"fractional_max_pool{axes}d"
    input = real_numbers(name, input)
    check_spatial(name, input, axes)
    kernel = integers_per_axis("kernel_size", kernel_size, axes)
    sizes = _sizes(axes, input, output_size, output_ratio)
    check_positive("kernel_size", kernel)
    check_positive("output_size", sizes)
    spatial = input.shape[-axes:]
    room = 1 if axes == 2 else 0  # PyTorch asks for one element to spare in three dimensions
    if any(k + o - room > n for k, o, n in zip(kernel, sizes, spatial, strict=True)):
        raise ValueError(
            f"{name}: kernel_size + output_size - {room} must not exceed the input's sizes; got {kernel}, "
            f"{sizes} and {spatial}"
        )
    lead = input.shape[:-axes]
    if samples is None:
        if key is None:
            raise MissingKeyError(f"{name} draws its windows at random: give it key=...")
        key = key_for_part(key, input)
        samples = jax.random.uniform(key, (*lead, axes), at_least_float32(input.dtype))
    (samples,) = as_floats(name, _random_samples=samples)
    if samples.shape[-2:] != (lead[-1], axes) or samples.size != int(np.prod(lead)) * axes:
        raise ValueError(
            f"{name}: random samples must have shape {(*lead, axes)}; got {samples.shape}"
        )

    def pool(input: Array, samples: Array) -> Any:
        samples = samples.reshape(*lead, axes)
        found = elements_as_maxima(input, range(input.ndim - axes, input.ndim), return_indices)
        for number in reversed(range(axes)):
            # PyTorch's first sample is of the last axis in two dimensions, of the first one in three.
            sample = samples[..., axes - 1 - number if axes == 2 else number]
            starts = _starts(sample, spatial[number], kernel[number], sizes[number])
            found = _gather_windows(found, number - axes, starts, kernel[number])
        return found.value if found.position is None else (found.value, found.position)

    return let_xla_place(pool, input, samples, kept=len(lead))


def fractional_max_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    key: Key | None = None,
) -> Any:
    """Take the maximum of windows that start at random, nearly even distances, over an image.

    With ``a = (size - kernel_size) / (output_size - 1)`` and one ``u`` in ``[0, 1)`` for each plane and axis,
    window ``i`` starts at ``floor(a (i + u)) - floor(a u)``, and the last one ends at the edge.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes.
        kernel_size: elements of a window, one number or one an axis.
        output_size: number of windows, one number or one an axis; or
        output_ratio: the same as a share of the input's sizes.
        return_indices: also return where each maximum was found.
        _random_samples: the numbers ``u``, ``(..., C, 2)``, of width and height, instead of drawing them.
        key: the random key to draw them with.

    Returns:
        ``(..., C, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: not exactly one of size and ratio is given, or that many windows do not fit.
        TypeError: the input holds booleans or complex numbers, or the samples no floats.
        MissingKeyError: neither a key nor samples are given.

    Example:
        >>> F.fractional_max_pool2d(jnp.ones((3, 9, 9)), 2, output_size=5, key=jax.random.key(0)).shape
        (3, 5, 5)

    Reference: Graham, "Fractional Max-Pooling", https://arxiv.org/abs/1412.6071
    """
    settings = (kernel_size, output_size, output_ratio, return_indices, _random_samples, key)
    return _fractional_max_pool(2, input, *settings)


def fractional_max_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    key: Key | None = None,
) -> Any:
    """Take the maximum of windows that start at random, nearly even distances, over a volume.

    The windows along each axis are those of `fractional_max_pool2d`.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes.
        kernel_size: elements of a window, one number or one an axis.
        output_size: number of windows, one number or one an axis; or
        output_ratio: the same as a share of the input's sizes.
        return_indices: also return where each maximum was found.
        _random_samples: the numbers ``u``, ``(..., C, 3)``, of depth, height and width, instead of drawing them.
        key: the random key to draw them with.

    Returns:
        ``(..., C, D_out, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: not exactly one of size and ratio is given, or that many windows do not fit.
        TypeError: the input holds booleans or complex numbers, or the samples no floats.
        MissingKeyError: neither a key nor samples are given.

    Example:
        >>> F.fractional_max_pool3d(jnp.ones((3, 8, 9, 9)), 2, output_ratio=0.5, key=jax.random.key(0)).shape
        (3, 4, 4, 4)

    Reference: Graham, "Fractional Max-Pooling", https://arxiv.org/abs/1412.6071
    """
    settings = (kernel_size, output_size, output_ratio, return_indices, _random_samples, key)
    return _fractional_max_pool(3, input, *settings)
