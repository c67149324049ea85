"""Layers of power-average pooling in one to three dimensions."""

from collections.abc import Sequence
from typing import ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.pooling.lp import lp_pool1d, lp_pool2d, lp_pool3d
from funcnet.module import Module

__all__ = ["LPPool1d", "LPPool2d", "LPPool3d"]

_POOL = (lp_pool1d, lp_pool2d, lp_pool3d)


class LPPoolBase(Module):
    """What power-average pooling of one, two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def __call__(self, input: Array) -> Array:
        """Take the power-sum of each window."""
        return _POOL[self.axes - 1](
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class LPPool1d(LPPoolBase):
    """Take the power-sum of each window of a sequence: ``(sum_t input[t] ** p) ** (1 / p)``.

    Input ``(..., C, L)``, output sizes as of `AvgPool1d`. With ``p = inf`` it is the largest magnitude.

    Args:
        norm_type: the power ``p``.
        kernel_size: elements of a window.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep last windows that reach past the end; their means are scaled to full windows.

    Example:
        >>> nn.LPPool1d(2, 2)(jnp.ones((2, 6))).shape
        (2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool1d.html
    """

    axes = 1


class LPPool2d(LPPoolBase):
    """Take the power-sum of each window of an image: ``(sum_t input[t] ** p) ** (1 / p)``.

    Input ``(..., C, H, W)``, output sizes as of `AvgPool2d`. With ``p = inf`` it is the largest magnitude.

    Args:
        norm_type: the power ``p``.
        kernel_size: elements of a window, one number or one an axis.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep last windows that reach past the end; their means are scaled to full windows.

    Example:
        >>> nn.LPPool2d(2, 2)(jnp.ones((2, 6, 6))).shape
        (2, 3, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool2d.html
    """

    axes = 2


class LPPool3d(LPPoolBase):
    """Take the power-sum of each window of a volume: ``(sum_t input[t] ** p) ** (1 / p)``.

    Input ``(..., C, D, H, W)``, output sizes as of `AvgPool3d`. With ``p = inf`` it is the largest magnitude.

    Args:
        norm_type: the power ``p``.
        kernel_size: elements of a window, one number or one an axis.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep last windows that reach past the end; their means are scaled to full windows.

    Example:
        >>> nn.LPPool3d(2, 2)(jnp.ones((2, 4, 6, 6))).shape
        (2, 2, 3, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool3d.html
    """

    axes = 3
