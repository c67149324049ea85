"""Maximum pooling in one to three dimensions, over fixed and adaptive windows."""

from collections.abc import Sequence
from typing import Any

from funcnet.core.aliases import Array
from funcnet.core.checks import per_axis
from funcnet.functional.pooling.window_maximum import maximum_over_windows
from funcnet.functional.windows import (
    adaptive_windows,
    check_spatial,
    real_numbers,
    sliding_windows,
    spatial_axes,
)

__all__ = [
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


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
    input = real_numbers(f"max_pool{axes}d", input)
    check_spatial(f"max_pool{axes}d", input, axes, channels_last)
    check_padding(padding, kernel_size, axes)
    where = spatial_axes(input.ndim, axes, channels_last)
    sizes = [input.shape[axis] for axis in where]
    over = sliding_windows(sizes, kernel_size, stride, padding, dilation, ceil_mode)
    return maximum_over_windows(input, where, over, return_indices)


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
        kernel_size: elements of a window.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        ceil_mode: keep a last window that reaches past the end.
        return_indices: also return where each maximum was found, for `max_unpool1d`.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, L_out)`` with ``L_out = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1``
        (``ceil`` with ``ceil_mode``); with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers.

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

    ``output[..., y, x] = max_{s, t} input[..., y', x']``,
    ``y' = stride * y + dilation * s - padding``,
    ``x' = stride * x + dilation * t - padding``.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``.
        kernel_size: elements of a window, one number or one an axis; so are the next three.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        ceil_mode: keep last windows that reach past the end.
        return_indices: also return where each maximum was found (``h * W + w``), for `max_unpool2d`.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``, sizes as in `max_pool1d`; with ``return_indices`` a pair of that and
        integer positions.

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers.

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
        kernel_size: elements of a window, one number or one an axis; so are the next three.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        ceil_mode: keep last windows that reach past the end.
        return_indices: also return where each maximum was found, for `max_unpool3d`.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``, sizes as in `max_pool1d`; with ``return_indices`` a pair of
        that and integer positions ``(d * H + h) * W + w``.

    Raises:
        ValueError: a setting is out of range or no window fits.
        TypeError: the input holds booleans or complex numbers.

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
    input = real_numbers(f"adaptive_max_pool{axes}d", input)
    check_spatial(f"adaptive_max_pool{axes}d", input, axes, channels_last)
    where = spatial_axes(input.ndim, axes, channels_last)
    over = adaptive_windows([input.shape[axis] for axis in where], output_size)
    return maximum_over_windows(input, where, over, return_indices)


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
        output_size: number of windows ``L_out``.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, L_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds booleans or complex numbers.

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
        output_size: windows an axis, one number or two; ``None`` keeps an axis.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds booleans or complex numbers.

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
        output_size: windows an axis, one number or three; ``None`` keeps an axis.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Returns:
        ``(..., C, D_out, H_out, W_out)``; with ``return_indices`` a pair of that and integer positions.

    Raises:
        ValueError: ``output_size`` is negative or the input has too few axes.
        TypeError: the input holds booleans or complex numbers.

    Example:
        >>> F.adaptive_max_pool3d(jnp.ones((1, 3, 7, 10, 9)), 2).shape
        (1, 3, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool3d.html
    """
    return _adaptive_max_pool(3, input, output_size, return_indices, channels_last)
