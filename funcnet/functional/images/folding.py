"""Sliding blocks of an image as columns of a matrix, and back."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.functional.explicit_meshes import spread_like
from funcnet.functional.windows import (
    check_spatial,
    in_wide_floats,
    integers_per_axis,
    over_batch_axes,
    pad_axes,
    sliding_windows,
)

__all__ = ["fold", "unfold"]


def _unfold(input: Array, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Array:
    over = sliding_windows(input.shape[-2:], kernel_size, stride, padding, dilation)
    padded = pad_axes(input, (2, 3), [(window.low, window.high) for window in over])
    rows, columns = over
    blocks = rows.split(columns.split(padded, 3), 2)  # (N, C, out_h, k_h, out_w, k_w)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4)
    channels = input.shape[1] * rows.kernel * columns.kernel
    return blocks.reshape(input.shape[0], channels, rows.output * columns.output)


def unfold(
    input: Array,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    """Lay out each sliding block of an image as a column (``im2col``).

    There are ``L = L_h L_w`` of them, ``L_h = floor((H + 2 padding - dilation (K_h - 1) - 1) / stride) + 1`` below each
    other and likewise ``L_w`` in a row.

    A convolution is then one matrix product: ``weight.reshape(C_out, -1) @ unfold(input, kernel_size)``.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes.
        kernel_size: size of a block, one number or one an axis; so are the next three.
        dilation: distance between the elements of a block.
        padding: zeros added on both sides of each axis.
        stride: step between blocks.

    Returns:
        ``(..., C K_h K_w, L)`` with ``L`` blocks, row by row.

    Raises:
        ValueError: a setting is out of range or no block fits.

    Example:
        >>> F.unfold(jnp.arange(6.0).reshape(1, 2, 3), 2)
        Array([[0., 1.],
               [1., 2.],
               [3., 4.],
               [4., 5.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unfold.html
    """
    check_spatial("unfold", input, 2)
    settings = (kernel_size, dilation, padding, stride)
    return over_batch_axes(
        lambda x: in_wide_floats(lambda wide: _unfold(wide, *settings), x), input, 3
    )


def fold(
    input: Array,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    """Add the columns of a matrix up as sliding blocks of an image: the transpose of `unfold`.

    Of a column for each block, in rows of ``floor((W + 2 padding - dilation (K_w - 1) - 1) / stride) + 1`` blocks.

    Args:
        input: ``(..., C K_h K_w, L)``, any number of batch axes.
        output_size: ``(H, W)`` of the image.
        kernel_size: size of a block, one number or one an axis; so are the next three.
        dilation: distance between the elements of a block.
        padding: elements on both sides of each axis that blocks cover and that are dropped.
        stride: step between blocks.

    Returns:
        ``(..., C, H, W)``; where blocks overlap, their sum.

    Raises:
        ValueError: the input's sizes are not those of blocks of such an image.

    Example:
        >>> F.fold(jnp.ones((4, 2)), (2, 3), 2)
        Array([[[1., 2., 1.],
                [1., 2., 1.]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Fold.html
    """
    sizes = integers_per_axis("output_size", output_size, 2)
    over = sliding_windows(sizes, kernel_size, stride, padding, dilation)
    elements = int(np.prod([window.kernel for window in over]))
    blocks = int(np.prod([window.output for window in over]))
    if (
        input.ndim < 2
        or input.shape[-2] % elements
        or not input.shape[-2]
        or input.shape[-1] != blocks
    ):
        raise ValueError(
            f"fold: input must have shape (..., C * {elements}, {blocks}) for output_size {sizes} and blocks of "
            f"{elements} elements; got {input.shape}"
        )
    channels = input.shape[-2] // elements
    settings = (kernel_size, dilation, padding, stride)

    def transpose(columns: Array) -> Array:
        image = jnp.zeros((columns.shape[0], channels, *sizes), columns.dtype)
        image = spread_like(image, columns)
        (output,) = jax.linear_transpose(lambda x: _unfold(x, *settings), image)(columns)
        return output

    return over_batch_axes(lambda x: in_wide_floats(transpose, x), input, 2)
