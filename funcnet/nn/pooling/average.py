"""Layers of average pooling in one to three dimensions."""

from collections.abc import Sequence
from typing import Any, ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.pooling.average import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
)
from funcnet.module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
]

_ADAPTIVE = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)


class AvgPoolBase(Module):
    """What average pooling of two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        channels_last: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self.channels_last = channels_last

    def __call__(self, input: Array) -> Array:
        """Take the mean of each window."""
        return (avg_pool2d if self.axes == 2 else avg_pool3d)(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            channels_last=self.channels_last,
        )


class AdaptiveAvgPoolBase(Module):
    """What adaptive average pooling of one, two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self, output_size: int | Sequence[int | None] | None, *, channels_last: bool = False
    ) -> None:
        self.output_size: Any = output_size
        self.channels_last = channels_last

    def __call__(self, input: Array) -> Array:
        """Take the mean of each window."""
        return _ADAPTIVE[self.axes - 1](input, self.output_size, channels_last=self.channels_last)


class AvgPool1d(Module):
    """Take the mean of each window of a sequence, as `funcnet.functional.avg_pool1d` does.

    * input ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``
    * output ``(..., C, L_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - kernel_size) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep last windows that reach past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AvgPool1d(2)
        >>> pool(jnp.ones((4, 10))).shape
        (4, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool1d.html
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        channels_last: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.channels_last = channels_last

    def __call__(self, input: Array) -> Array:
        """Take the mean of each window."""
        return avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            channels_last=self.channels_last,
        )


class AvgPool2d(AvgPoolBase):
    """Take the mean of each window of an image, as `funcnet.functional.avg_pool2d` does.

    * input ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``
    * output ``(..., C, H_out, W_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - kernel_size) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number, or one an axis; so are the next two.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep last windows that reach past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        divisor_override: divide each sum by this number instead.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AvgPool2d(2)
        >>> pool(jnp.ones((4, 10, 12))).shape
        (4, 5, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html
    """

    axes = 2


class AvgPool3d(AvgPoolBase):
    """Take the mean of each window of a volume, as `funcnet.functional.avg_pool3d` does.

    * input ``(..., C, D, H, W)``, any number of batch axes; ``(..., D, H, W, C)`` if ``channels_last``
    * output ``(..., C, D_out, H_out, W_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - kernel_size) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number, or one an axis; so are the next two.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: zeros added on both sides, at most half of ``kernel_size``.
        ceil_mode: keep last windows that reach past the end.
        count_include_pad: whether padding counts in the mean's denominator.
        divisor_override: divide each sum by this number instead.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AvgPool3d(2)
        >>> pool(jnp.ones((4, 6, 10, 12))).shape
        (4, 3, 5, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool3d.html
    """

    axes = 3


class AdaptiveAvgPool1d(AdaptiveAvgPoolBase):
    """Take the mean of each of a given number of windows that cover a sequence.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``
    * output ``(..., C, L_out)``

    Args:
        output_size: number of windows.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveAvgPool1d(5)
        >>> pool(jnp.ones((4, 10))).shape
        (4, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool1d.html
    """

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAvgPoolBase):
    """Take the mean of each of a given number of windows that cover an image.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``
    * output ``(..., C, H_out, W_out)``

    Args:
        output_size: windows an axis, one number or one an axis; ``None`` keeps an axis.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveAvgPool2d((5, None))
        >>> pool(jnp.ones((4, 10, 12))).shape
        (4, 5, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
    """

    axes = 2


class AdaptiveAvgPool3d(AdaptiveAvgPoolBase):
    """Take the mean of each of a given number of windows that cover a volume.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, D, H, W)``, any number of batch axes; ``(..., D, H, W, C)`` if ``channels_last``
    * output ``(..., C, D_out, H_out, W_out)``

    Args:
        output_size: windows an axis, one number or one an axis; ``None`` keeps an axis.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveAvgPool3d((3, 5, None))
        >>> pool(jnp.ones((4, 6, 10, 12))).shape
        (4, 3, 5, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool3d.html
    """

    axes = 3
