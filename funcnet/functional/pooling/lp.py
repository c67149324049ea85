"""Power-average pooling in one to three dimensions: the p-norm of each window."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.pooling.average import avg_pool1d, avg_pool2d, avg_pool3d
from funcnet.functional.pooling.max import max_pool1d, max_pool2d, max_pool3d
from funcnet.functional.subgradients import magnitude

__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d"]

_MAXIMUM = (max_pool1d, max_pool2d, max_pool3d)
_AVERAGE = (avg_pool1d, avg_pool2d, avg_pool3d)


def _lp_pool(
    axes: int,
    input: Array,
    norm_type: float,
    kernel_size: Any,
    stride: Any,
    ceil_mode: bool,
) -> Array:
    (input,) = as_floats(f"lp_pool{axes}d", input=input)
    if norm_type == 0:
        raise ValueError("norm_type must not be zero")
    settings = (kernel_size, stride, 0)
    if np.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        return sign * _MAXIMUM[axes - 1](sign * magnitude(input), *settings, 1, ceil_mode)
    power = int(norm_type) if float(norm_type).is_integer() else float(norm_type)
    wide = input.astype(at_least_float32(input.dtype))
    mean = _AVERAGE[axes - 1](wide**power, *settings, ceil_mode)
    elements = np.prod(np.broadcast_to(np.asarray(kernel_size, int), axes))
    # A window of zeros has the gradient zero, not the infinite slope of a root.
    empty = mean == 0
    total = jnp.where(empty, jnp.ones_like(mean), mean * int(elements))
    root = jnp.where(empty, jnp.zeros_like(mean), total ** (1.0 / norm_type))
    return root.astype(input.dtype)


def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Take the power-sum of each window of a sequence: ``(sum_t input[t] ** p) ** (1 / p)``.

    With ``p = inf`` it is the largest magnitude, with ``p = 1`` the sum. The gradient of a window whose
    sum of powers is zero is zero.

    Args:
        input: ``(..., C, L)``, any number of batch axes.
        norm_type: the power ``p``.
        kernel_size: elements of a window.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep a last window that reaches past the end; its mean is scaled to a full window.

    Returns:
        ``(..., C, L_out)``, size as in `avg_pool1d`.

    Raises:
        ValueError: ``norm_type`` is zero, a setting is out of range or no window fits.
        TypeError: the input holds no floats.

    Example:
        >>> F.lp_pool1d(jnp.array([[3.0, 4.0]]), 2, 2)
        Array([[5.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool1d.html
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Take the power-sum of each window of an image: ``(sum_{s, t} input[s, t] ** p) ** (1 / p)``.

    It is `lp_pool1d` over two spatial axes.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes.
        norm_type: the power ``p``.
        kernel_size: elements of a window, one number or one an axis.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep last windows that reach past the end; their means are scaled to full windows.

    Returns:
        ``(..., C, H_out, W_out)``, sizes as in `avg_pool1d`.

    Raises:
        ValueError: ``norm_type`` is zero, a setting is out of range or no window fits.
        TypeError: the input holds no floats.

    Example:
        >>> F.lp_pool2d(jnp.ones((1, 4, 4)), 2, 2)
        Array([[[2., 2.],
                [2., 2.]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool2d.html
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Take the power-sum of each window of a volume: `lp_pool1d` over three spatial axes.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes.
        norm_type: the power ``p``.
        kernel_size: elements of a window, one number or one an axis.
        stride: step between windows; ``None`` for ``kernel_size``.
        ceil_mode: keep last windows that reach past the end; their means are scaled to full windows.

    Returns:
        ``(..., C, D_out, H_out, W_out)``, sizes as in `avg_pool1d`.

    Raises:
        ValueError: ``norm_type`` is zero, a setting is out of range or no window fits.
        TypeError: the input holds no floats.

    Example:
        >>> F.lp_pool3d(jnp.ones((1, 2, 2, 4)), 1, 2)
        Array([[[[8., 8.]]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LPPool3d.html
    """
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
