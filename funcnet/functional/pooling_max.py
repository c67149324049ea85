"""Maximum pooling in one to three dimensions, over fixed and adaptive windows.

Windows separate: the maximum over a box is the maximum along one axis after another. Along an axis it is a
chain of choices between strided slices, on CPU several times quicker than XLA's windowed reduction and the
scatter that is its gradient. Ties go to the first element and NaN wins, as in PyTorch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import per_axis
from funcnet.functional.windows import (
    UnevenWindows,
    Windows,
    adaptive_windows,
    check_spatial,
    pad_axes,
    spatial_axes,
    windows,
)

__all__ = [
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


class Candidates(NamedTuple):
    """The largest values so far and, if asked for, their positions; padding has position -1."""

    value: Array
    position: Array | None

    def map(self, function: Callable[[Array], Array]) -> "Candidates":
        """Apply one function, such as a slice, to values and positions."""
        return Candidates(
            function(self.value), None if self.position is None else function(self.position)
        )


def larger(first: Candidates, second: Candidates) -> Candidates:
    """Choose the larger value at each place: the first of equals, and NaN over any number."""
    a, b = first.value, second.value
    choose_second = b > a
    if jnp.issubdtype(b.dtype, jnp.inexact):
        choose_second |= jnp.isnan(b)
    position = None
    if first.position is not None and second.position is not None:
        choose_second |= first.position < 0
        position = jnp.where(choose_second, second.position, first.position)
    return Candidates(jnp.where(choose_second, b, a), position)


def candidates(input: Array, axes: Sequence[int], with_positions: bool) -> Candidates:
    """Take each element as a candidate; its position counts row by row over the spatial axes."""
    if not with_positions:
        return Candidates(input, None)
    sizes = [input.shape[axis] for axis in axes]
    shape = [size if axis in axes else 1 for axis, size in enumerate(input.shape)]
    return Candidates(input, jnp.arange(int(np.prod(sizes))).reshape(shape))


def _lowest(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


_FEW = 8
"""Taps up to which one slice a tap beats rearranging the array."""


def _over_axis(found: Candidates, axis: int, window: Windows | UnevenWindows) -> Candidates:
    if isinstance(window, UnevenWindows) or (window.apart and window.kernel > _FEW):
        return _by_halving(found.map(lambda x: window.split(x, axis)), axis + 1)
    if window.kernel > _FEW:
        return _by_doubling(found, axis, window)
    return _by_taps(found, axis, window)


def _by_taps(found: Candidates, axis: int, window: Windows) -> Candidates:
    taps = [found.map(lambda x, t=t: window.tap(x, axis, t)) for t in range(window.kernel)]
    while (
        len(taps) > 1
    ):  # neighbours in pairs: a long chain of choices would take XLA long to compile
        pairs = zip(taps[::2], taps[1::2], strict=False)
        taps = [larger(*pair) for pair in pairs] + taps[len(taps) // 2 * 2 :]
    return taps[0]


def _by_halving(found: Candidates, axis: int) -> Candidates:
    """Reduce an axis to nothing, neighbours in pairs."""
    while (length := found.value.shape[axis]) > 1:
        even = length // 2 * 2
        pairs = larger(
            found.map(lambda x, end=even: lax.slice_in_dim(x, 0, end, 2, axis)),
            found.map(lambda x, end=even: lax.slice_in_dim(x, 1, end, 2, axis)),
        )
        if even < length:
            rest = found.map(lambda x, start=even: lax.slice_in_dim(x, start, None, 1, axis))
            pairs = _append(pairs, rest, axis)
        found = pairs
    return found.map(lambda x: lax.squeeze(x, (axis,)))


def _append(first: Candidates, last: Candidates, axis: int) -> Candidates:
    value = lax.concatenate([first.value, last.value], axis)
    if first.position is None or last.position is None:
        return Candidates(value, None)
    shape = last.value.shape
    position = [first.position, jnp.broadcast_to(last.position, shape)]
    return Candidates(value, lax.concatenate(position, axis))


def _by_doubling(found: Candidates, axis: int, window: Windows) -> Candidates:
    """Reduce wide windows in few steps: each is two overlapping windows of about half the width."""
    span = 1
    while span < window.kernel:
        step = min(span, window.kernel - span)
        offset = step * window.dilation
        length = found.value.shape[axis]
        found = larger(
            found.map(lambda x, end=length - offset: lax.slice_in_dim(x, 0, end, 1, axis)),
            found.map(lambda x, start=offset: lax.slice_in_dim(x, start, None, 1, axis)),
        )
        span += step
    return found.map(lambda x: window.tap(x, axis, 0))


def _max_over(
    input: Array,
    axes: Sequence[int],
    over: Sequence[Windows | UnevenWindows],
    return_indices: bool,
) -> Any:
    found = candidates(input, axes, return_indices)
    amounts = [(window.low, window.high) for window in over]
    value = pad_axes(found.value, axes, amounts, _lowest(input.dtype))
    position = None if found.position is None else pad_axes(found.position, axes, amounts, -1)
    found = Candidates(value, position)
    # The last axis first: the first of equals along rows, then along columns, is the first in the window.
    for axis, window in reversed(list(zip(axes, over, strict=True))):
        found = _over_axis(found, axis, window)
    if found.position is None:
        return found.value
    return found.value, jnp.broadcast_to(found.position, found.value.shape)


def check_padding(padding: Any, kernel_size: Any, axes: int) -> None:
    """Raise ``ValueError`` if padding exceeds half a window, which could then see nothing else."""
    pairs = zip(
        per_axis("padding", padding, axes), per_axis("kernel_size", kernel_size, axes), strict=True
    )
    if any(2 * pad > kernel for pad, kernel in pairs):
        raise ValueError(
            f"padding must be at most half of kernel_size; got padding {padding} and kernel_size {kernel_size}"
        )


def _max_pool(
    axes: int,
    input: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
    channels_last: bool,
) -> Any:
    check_spatial(f"max_pool{axes}d", input, axes, channels_last)
    check_padding(padding, kernel_size, axes)
    where = spatial_axes(input.ndim, axes, channels_last)
    sizes = [input.shape[axis] for axis in where]
    over = windows(sizes, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_over(input, where, over, return_indices)


def max_pool1d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each window of a sequence.

    ``output[..., x] = max_t input[..., stride * x + dilation * t - padding]``

    Args:
        input: ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``.
        kernel_size: Taps of a window.
        stride: Step between windows; ``None`` for ``kernel_size``.
        padding: Elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: Distance between taps.
        ceil_mode: Keep a last window that reaches past the end.
        return_indices: Also return where each maximum was found, for `max_unpool1d`.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, L_out)`` with ``L_out = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1``
        (``ceil`` with ``ceil_mode``); with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: a setting is out of range or no window fits.

    Example:
        >>> F.max_pool1d(jnp.array([[1.0, 4.0, 2.0, 3.0]]), 2)
        Array([[4., 3.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool1d.html
    """
    return _max_pool(
        1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, channels_last
    )


def max_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each window of an image: `max_pool1d` over two spatial axes.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``.
        kernel_size: Taps of a window, one number or one an axis; so are the next three.
        stride: Step between windows; ``None`` for ``kernel_size``.
        padding: Elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: Distance between taps.
        ceil_mode: Keep last windows that reach past the end.
        return_indices: Also return where each maximum was found (``h * W + w``), for `max_unpool2d`.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``, sizes as in `max_pool1d`; with ``return_indices`` a pair of that and
        integer positions.

    Raises:
        ValueError: a setting is out of range or no window fits.

    Example:
        >>> F.max_pool2d(jnp.arange(16.0).reshape(1, 4, 4), 2)
        Array([[[ 5.,  7.],
                [13., 15.]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html
    """
    return _max_pool(
        2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, channels_last
    )


def max_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each window of a volume: `max_pool1d` over three spatial axes.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        kernel_size: Taps of a window, one number or one an axis; so are the next three.
        stride: Step between windows; ``None`` for ``kernel_size``.
        padding: Elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: Distance between taps.
        ceil_mode: Keep last windows that reach past the end.
        return_indices: Also return where each maximum was found, for `max_unpool3d`.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``, sizes as in `max_pool1d`; with ``return_indices`` a pair of
        that and integer positions ``(d * H + h) * W + w``.

    Raises:
        ValueError: a setting is out of range or no window fits.

    Example:
        >>> F.max_pool3d(jnp.ones((1, 2, 4, 6, 6)), (2, 3, 3), stride=1).shape
        (1, 2, 3, 4, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool3d.html
    """
    return _max_pool(
        3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, channels_last
    )


def _adaptive_max_pool(
    axes: int, input: Array, output_size: Any, return_indices: bool, channels_last: bool
) -> Any:
    check_spatial(f"adaptive_max_pool{axes}d", input, axes, channels_last)
    where = spatial_axes(input.ndim, axes, channels_last)
    over = adaptive_windows([input.shape[axis] for axis in where], output_size)
    return _max_over(input, where, over, return_indices)


def adaptive_max_pool1d(
    input: Array,
    output_size: int | Sequence[int],
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each of ``output_size`` windows that cover a sequence.

    Window ``i`` runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    Args:
        input: ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``.
        output_size: Number of windows ``L_out``.
        return_indices: Also return where each maximum was found.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, L_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.

    Example:
        >>> F.adaptive_max_pool1d(jnp.arange(5.0)[None], 2)
        Array([[2., 4.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool1d.html
    """
    return _adaptive_max_pool(1, input, output_size, return_indices, channels_last)


def adaptive_max_pool2d(
    input: Array,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each of a grid of windows that cover an image: `adaptive_max_pool1d` twice.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``.
        output_size: Windows an axis, one number or two; ``None`` keeps an axis.
        return_indices: Also return where each maximum was found.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.

    Example:
        >>> F.adaptive_max_pool2d(jnp.ones((1, 3, 10, 9)), (5, None)).shape
        (1, 3, 5, 9)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool2d.html
    """
    return _adaptive_max_pool(2, input, output_size, return_indices, channels_last)


def adaptive_max_pool3d(
    input: Array,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool = False,
    *,
    channels_last: bool = False,
) -> Any:
    """Take the maximum of each of a grid of windows that cover a volume: `adaptive_max_pool1d` thrice.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        output_size: Windows an axis, one number or three; ``None`` keeps an axis.
        return_indices: Also return where each maximum was found.
        channels_last: Channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.

    Example:
        >>> F.adaptive_max_pool3d(jnp.ones((1, 3, 7, 10, 9)), 2).shape
        (1, 3, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool3d.html
    """
    return _adaptive_max_pool(3, input, output_size, return_indices, channels_last)
