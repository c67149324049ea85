"""Spatial windows in one to three dimensions, shared by convolution, pooling and folding.

A window of ``kernel`` elements, ``dilation`` apart, moves in steps of ``stride`` over a padded axis::

    reach  = dilation * (kernel - 1) + 1
    output = floor((size + low + high - reach) / stride) + 1

What is done for windows is done one axis after another wherever it separates, and along an axis for one element of
the window after another: a strided slice holds the same element of every window.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_non_negative, check_positive, per_axis
from funcnet.core.dtypes import as_floats, at_least_float32, is_float
from funcnet.functional.explicit_meshes import let_xla_place

__all__ = [
    "UnevenWindows",
    "Windows",
    "adaptive_windows",
    "over_batch_axes",
    "check_spatial",
    "in_wide_floats",
    "integers_per_axis",
    "pad_axes",
    "real_numbers",
    "spatial_axes",
    "sliding_windows",
]


def integers_per_axis(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """Return one whole number for each spatial axis.

    >>> integers_per_axis("kernel_size", 3, 2)
    (3, 3)

    Raises:
        TypeError: a setting is not a whole number.
        ValueError: there are neither one nor ``axes`` of them.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return tuple(operator.index(number) for number in per_axis(name, value, axes))
    except TypeError:
        raise TypeError(f"{name} must be a whole number or {axes} of them; got {value!r}") from None


def spatial_axes(ndim: int, axes: int, channels_last: bool = False) -> tuple[int, ...]:
    """Return the positions of the spatial axes in an array of ``ndim`` axes.

    >>> spatial_axes(4, 2), spatial_axes(4, 2, channels_last=True)
    ((2, 3), (1, 2))
    """
    end = ndim - 1 if channels_last else ndim
    return tuple(range(end - axes, end))


def check_spatial(name: str, input: Array, axes: int, channels_last: bool = False) -> None:
    """Raise ``ValueError`` unless the input has a channel axis, spatial axes, and none of them empty."""
    letters = "DHW"[-axes:] if axes > 1 else "L"
    layout = ", ".join([*letters, "C"] if channels_last else ["C", *letters])
    if input.ndim < axes + 1 or 0 in input.shape[-axes - 1 :]:
        raise ValueError(
            f"{name}: input must have shape (..., {layout}), only batch axes may be empty; got {input.shape}"
        )


def real_numbers(function: str, input: Array) -> Array:
    """Return an array of JAX whose elements have an order, as maxima need it: integers or real floats.

    Raises:
        TypeError: it holds booleans or complex numbers.

    >>> real_numbers("max_pool1d", np.array([1, 2])).dtype
    dtype('int32')
    """
    input = jnp.asarray(input)
    if not jnp.issubdtype(input.dtype, jnp.integer):
        (input,) = as_floats(function, input=input)
    return input


def in_wide_floats(function: Callable[[Array], Array], input: Array) -> Array:
    """Call a function that moves or adds elements; it and its gradient add 16-bit floats in 32 bits.

    >>> in_wide_floats(lambda x: x[None] + x[:, None], jnp.ones(3, jnp.bfloat16)).dtype
    dtype(bfloat16)
    """
    if not is_float(input, complex=True):
        return function(input)
    wide = at_least_float32(input.dtype)
    return function(input.astype(wide)).astype(input.dtype)


def over_batch_axes(function: Callable[[Array], Array], input: Array, core: int) -> Array:
    """Call a function of ``(N, ...)`` with ``core`` axes after ``N`` on any number of batch axes.

    >>> over_batch_axes(lambda x: x[:, 0], jnp.ones((5, 4, 3)), 1).shape
    (5, 4)
    """
    lead, shape = input.ndim - core, input.shape

    def whole(input: Array) -> Array:
        if lead == 1:
            return function(input)
        output = function(input.reshape(int(np.prod(shape[:lead])), *shape[lead:]))
        return output.reshape(*shape[:lead], *output.shape[1:])

    return let_xla_place(whole, input, kept=lead)


def pad_axes(
    input: Array, axes: Sequence[int], amounts: Sequence[tuple[int, int]], value: Any = 0
) -> Array:
    """Pad some axes by ``(low, high)`` elements of one value; negative amounts crop."""
    if not any(low or high for low, high in amounts):
        return input
    config = [(0, 0, 0)] * input.ndim
    for axis, (low, high) in zip(axes, amounts, strict=True):
        config[axis] = (low, high, 0)
    return lax.pad(input, np.asarray(value, input.dtype), config)


@dataclass(frozen=True)
class Windows:
    """Evenly spaced windows along one axis that has been padded by ``low`` and ``high``."""

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    low: int = 0
    high: int = 0
    output: int = 1

    def element(self, padded: Array, axis: int, offset: int) -> Array:
        """Return one element of every window: a strided slice."""
        start = offset * self.dilation
        limit = start + (self.output - 1) * self.stride + 1
        if (start, limit, self.stride) == (0, padded.shape[axis], 1):
            return padded
        return lax.slice_in_dim(padded, start, limit, self.stride, axis)

    @property
    def is_whole_axis(self) -> bool:
        """Whether one window holds the whole axis and nothing else."""
        return self.output == 1 and self.kernel == self.size and not (self.low or self.high)

    @property
    def is_disjoint(self) -> bool:
        """Whether the windows are contiguous blocks that do not overlap."""
        return self.dilation == 1 and self.stride >= self.kernel

    def split(self, padded: Array, axis: int) -> Array:
        """Split an axis into two: the windows, and the elements of each."""
        if not self.is_disjoint:
            return jnp.stack([self.element(padded, axis, t) for t in range(self.kernel)], axis + 1)
        length = self.output * self.stride
        blocks = pad_axes(padded, [axis], [(0, length - padded.shape[axis])])
        shape = (*padded.shape[:axis], self.output, self.stride, *padded.shape[axis + 1 :])
        return lax.slice_in_dim(blocks.reshape(shape), 0, self.kernel, 1, axis + 1)


@dataclass(frozen=True)
class UnevenWindows:
    """Windows of any starts and lengths along one axis; ``kernel`` is the longest."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    low: int = 0
    high: int = 0

    @property
    def kernel(self) -> int:
        """Elements of the longest window."""
        return max(self.lengths, default=1)

    @property
    def places(self) -> np.ndarray:
        """Positions of the elements of each window, ``(windows, kernel)``; -1 after the last of a shorter one."""
        offsets = np.arange(self.kernel)
        places = np.asarray(self.starts, int)[:, None] + offsets
        return np.where(offsets < np.asarray(self.lengths, int)[:, None], places, -1)


def sliding_windows(
    sizes: Sequence[int],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Windows, ...]:
    """Lay windows over axes of the given sizes, with PyTorch's rules and checks.

    With ``ceil_mode`` a last window may reach past the padding, if it starts within the input or
    the padding before it.

    >>> sliding_windows((5,), 2, ceil_mode=True)[0].output, sliding_windows((5,), 2)[0].output
    (3, 2)

    Args:
        sizes: length of each spatial axis.
        kernel_size: elements of a window, one number or one an axis.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements added before and after each axis.
        dilation: distance between the elements of a window.
        ceil_mode: round the number of windows up instead of down.

    Returns:
        The windows of each axis; ``low`` and ``high`` are the padding that they need.

    Raises:
        ValueError: a setting is out of range, or no window fits.
    """
    axes = len(sizes)
    kernel = integers_per_axis("kernel_size", kernel_size, axes)
    same = stride is None or (isinstance(stride, Sequence) and len(stride) == 0)
    step = kernel if same else integers_per_axis("stride", stride, axes)
    margin = integers_per_axis("padding", padding, axes)
    spread = integers_per_axis("dilation", dilation, axes)
    check_positive("kernel_size", kernel)
    check_positive("stride", step)
    check_non_negative("padding", margin)
    check_positive("dilation", spread)
    return tuple(
        _windows(*settings, ceil_mode)
        for settings in zip(sizes, kernel, step, margin, spread, strict=True)
    )


def _windows(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> Windows:
    reach = dilation * (kernel - 1) + 1
    output = (size + 2 * pad - reach + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (output - 1) * stride >= size + pad:
        output -= 1
    if output < 1:
        raise ValueError(
            f"a window of {kernel} elements, {dilation} apart, does not fit into {size} elements with padding "
            f"{pad}; use a smaller kernel_size or more padding"
        )
    high = max(0, (output - 1) * stride + reach - size - pad)
    return Windows(size, kernel, stride, dilation, pad, high, output)


def adaptive_windows(sizes: Sequence[int], output_size: Any) -> tuple[Windows | UnevenWindows, ...]:
    """Cover each axis by a given number of windows: from ``floor(i size / n)`` to ``ceil((i + 1) size / n)``.

    >>> adaptive_windows((5,), 2)
    (UnevenWindows(starts=(0, 2), lengths=(3, 3), low=0, high=0),)

    Args:
        sizes: length of each spatial axis.
        output_size: windows an axis, one number or one an axis; ``None`` keeps an axis as it is.

    Raises:
        ValueError: a number of windows is negative, or there are too few or many of them.
    """
    targets = [
        size if target is None else operator.index(target)
        for size, target in zip(
            sizes, per_axis("output_size", output_size, len(sizes)), strict=True
        )
    ]
    check_non_negative("output_size", targets)
    return tuple(_adaptive(size, count) for size, count in zip(sizes, targets, strict=True))


def _adaptive(size: int, count: int) -> Windows | UnevenWindows:
    if count and size % count == 0:
        return Windows(size, size // count, size // count, output=count)
    starts = tuple(i * size // count for i in range(count))
    ends = tuple(-(-(i + 1) * size // count) for i in range(count))
    return UnevenWindows(starts, tuple(e - s for s, e in zip(starts, ends, strict=True)))
