"""Layers that lay sliding blocks of an image out as columns, and add them up again."""

from collections.abc import Sequence

from funcnet.core.aliases import Array
from funcnet.functional.images.folding import fold, unfold
from funcnet.module import Module

__all__ = ["Fold", "Unfold"]


class Unfold(Module):
    """Lay out each sliding block of an image as a column, as `funcnet.functional.unfold` does.

    Input ``(..., C, H, W)``, output ``(..., C K_h K_w, L)`` with ``L`` blocks, row by row;
    along an axis there are ``floor((H + 2 padding - dilation (K_h - 1) - 1) / stride) + 1``.

    Args:
        kernel_size: size of a block, one number or one an axis; so are the next three.
        dilation: distance between the elements of a block.
        padding: zeros added on both sides of each axis.
        stride: step between blocks.

    Example:
        >>> nn.Unfold((2, 3))(jnp.ones((2, 5, 3, 4))).shape
        (2, 30, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unfold.html
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def __call__(self, input: Array) -> Array:
        """Lay out the blocks."""
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """Add columns up as sliding blocks of an image, as `funcnet.functional.fold` does.

    Input ``(..., C K_h K_w, L)``, output ``(..., C, H, W)``; where blocks overlap, their sum. Along an axis
    there are ``floor((H + 2 padding - dilation (K_h - 1) - 1) / stride) + 1`` blocks.

    Args:
        output_size: ``(H, W)``, or one number for both.
        kernel_size: size of a block, one number or one an axis; so are the next three.
        dilation: distance between the elements of a block.
        padding: elements on both sides of each axis that blocks cover and that are dropped.
        stride: step between blocks.

    Example:
        >>> nn.Fold((4, 5), (2, 2))(jnp.ones((1, 12, 12))).shape
        (1, 3, 4, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Fold.html
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def __call__(self, input: Array) -> Array:
        """Add the blocks up."""
        return fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )
