"""Layers of maximum pooling in one to three dimensions."""

from collections.abc import Sequence
from typing import Any, ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.pooling.max import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from funcnet.module import Module

__all__ = [
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]

_POOL = (max_pool1d, max_pool2d, max_pool3d)
_ADAPTIVE = (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)


class MaxPoolBase(Module):
    """What maximum pooling of one, two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        channels_last: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self.channels_last = channels_last

    def __call__(self, input: Array) -> Any:
        """Take the maximum of each window."""
        return _POOL[self.axes - 1](
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            channels_last=self.channels_last,
        )


class AdaptiveMaxPoolBase(Module):
    """What adaptive maximum pooling of one, two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        output_size: int | Sequence[int | None] | None,
        return_indices: bool = False,
        *,
        channels_last: bool = False,
    ) -> None:
        self.output_size: Any = output_size
        self.return_indices = return_indices
        self.channels_last = channels_last

    def __call__(self, input: Array) -> Any:
        """Take the maximum of each window."""
        return _ADAPTIVE[self.axes - 1](
            input, self.output_size, self.return_indices, channels_last=self.channels_last
        )


class MaxPool1d(MaxPoolBase):
    """Take the maximum of each window of a sequence, as `funcnet.functional.max_pool1d` does.

    * input ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``
    * output ``(..., C, L_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        return_indices: also return where each maximum was found, for `MaxUnpool1d`.
        ceil_mode: keep last windows that reach past the end.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.MaxPool1d(2)
        >>> pool(jnp.ones((4, 10))).shape
        (4, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool1d.html
    """

    axes = 1


class MaxPool2d(MaxPoolBase):
    """Take the maximum of each window of an image, as `funcnet.functional.max_pool2d` does.

    * input ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``
    * output ``(..., C, H_out, W_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number, or one an axis; so are the next three.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        return_indices: also return where each maximum was found, for `MaxUnpool2d`.
        ceil_mode: keep last windows that reach past the end.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.MaxPool2d(2)
        >>> pool(jnp.ones((4, 10, 12))).shape
        (4, 5, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html
    """

    axes = 2


class MaxPool3d(MaxPoolBase):
    """Take the maximum of each window of a volume, as `funcnet.functional.max_pool3d` does.

    * input ``(..., C, D, H, W)``, any number of batch axes; ``(..., D, H, W, C)`` if ``channels_last``
    * output ``(..., C, D_out, H_out, W_out)``; an axis of size ``L`` becomes
      ``floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1`` (``ceil`` with ``ceil_mode``)

    Args:
        kernel_size: elements of a window. One number, or one an axis; so are the next three.
        stride: step between windows; ``None`` for ``kernel_size``.
        padding: elements of minus infinity added on both sides, at most half of ``kernel_size``.
        dilation: distance between the elements of a window.
        return_indices: also return where each maximum was found, for `MaxUnpool3d`.
        ceil_mode: keep last windows that reach past the end.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.MaxPool3d(2)
        >>> pool(jnp.ones((4, 6, 10, 12))).shape
        (4, 3, 5, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool3d.html
    """

    axes = 3


class AdaptiveMaxPool1d(AdaptiveMaxPoolBase):
    """Take the maximum of each of a given number of windows that cover a sequence.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, L)``, any number of batch axes; ``(..., L, C)`` if ``channels_last``
    * output ``(..., C, L_out)``

    Args:
        output_size: number of windows.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveMaxPool1d(5)
        >>> pool(jnp.ones((4, 10))).shape
        (4, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool1d.html
    """

    axes = 1


class AdaptiveMaxPool2d(AdaptiveMaxPoolBase):
    """Take the maximum of each of a given number of windows that cover an image.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, H, W)``, any number of batch axes; ``(..., H, W, C)`` if ``channels_last``
    * output ``(..., C, H_out, W_out)``

    Args:
        output_size: windows an axis, one number or one an axis; ``None`` keeps an axis.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveMaxPool2d((5, None))
        >>> pool(jnp.ones((4, 10, 12))).shape
        (4, 5, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool2d.html
    """

    axes = 2


class AdaptiveMaxPool3d(AdaptiveMaxPoolBase):
    """Take the maximum of each of a given number of windows that cover a volume.

    Window ``i`` of an axis runs from ``floor(i L / L_out)`` to ``ceil((i + 1) L / L_out)``.

    * input ``(..., C, D, H, W)``, any number of batch axes; ``(..., D, H, W, C)`` if ``channels_last``
    * output ``(..., C, D_out, H_out, W_out)``

    Args:
        output_size: windows an axis, one number or one an axis; ``None`` keeps an axis.
        return_indices: also return where each maximum was found.
        channels_last: channels are the last axis.

    Example:
        >>> pool = nn.AdaptiveMaxPool3d((3, 5, None))
        >>> pool(jnp.ones((4, 6, 10, 12))).shape
        (4, 3, 5, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveMaxPool3d.html
    """

    axes = 3
