"""Layers that put pooled maxima back where they were found."""

from collections.abc import Sequence
from typing import ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.pooling.unpool import max_unpool1d, max_unpool2d, max_unpool3d
from funcnet.functional.windows import integers_per_axis
from funcnet.module import Module

__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

_UNPOOL = (max_unpool1d, max_unpool2d, max_unpool3d)


class MaxUnpoolBase(Module):
    """What unpooling of one, two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        self.kernel_size = integers_per_axis("kernel_size", kernel_size, self.axes)
        self.stride = (
            self.kernel_size if stride is None else integers_per_axis("stride", stride, self.axes)
        )
        self.padding = integers_per_axis("padding", padding, self.axes)

    def __call__(
        self, input: Array, indices: Array, output_size: Sequence[int] | None = None
    ) -> Array:
        """Put each element of the input at its position, and zeros elsewhere."""
        return _UNPOOL[self.axes - 1](
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool1d(MaxUnpoolBase):
    """Undo `MaxPool1d` as far as it can be: maxima at their positions, zeros elsewhere.

    ``output[..., indices[..., x]] = input[..., x]``

    The call takes pooled values ``(..., C, L)``, the positions that ``MaxPool1d(..., return_indices=True)``
    returned with them and, where pooling rounded, the ``output_size`` to restore.

    Args:
        kernel_size: as of the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.

    Example:
        >>> x, where = nn.MaxPool1d(2, return_indices=True)(jnp.ones((2, 6)))
        >>> nn.MaxUnpool1d(2)(x, where).shape
        (2, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool1d.html
    """

    axes = 1


class MaxUnpool2d(MaxUnpoolBase):
    """Undo `MaxPool2d` as far as it can be: maxima at their positions, zeros elsewhere.

    The call takes pooled values ``(..., C, H, W)``, the positions that ``MaxPool2d(..., return_indices=True)``
    returned with them and, where pooling rounded, the ``output_size`` to restore.

    Args:
        kernel_size: as of the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.

    Example:
        >>> x, where = nn.MaxPool2d(2, return_indices=True)(jnp.ones((2, 6, 6)))
        >>> nn.MaxUnpool2d(2)(x, where).shape
        (2, 6, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool2d.html
    """

    axes = 2


class MaxUnpool3d(MaxUnpoolBase):
    """Undo `MaxPool3d` as far as it can be: maxima at their positions, zeros elsewhere.

    The call takes pooled values ``(..., C, D, H, W)``, the positions that ``MaxPool3d(..., return_indices=True)``
    returned with them and, where pooling rounded, the ``output_size`` to restore.

    Args:
        kernel_size: as of the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.

    Example:
        >>> x, where = nn.MaxPool3d(2, return_indices=True)(jnp.ones((2, 4, 6, 6)))
        >>> nn.MaxUnpool3d(2)(x, where).shape
        (2, 4, 6, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool3d.html
    """

    axes = 3
