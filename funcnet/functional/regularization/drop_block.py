"""DropBlock: zero whole squares of feature maps, because neighbours tell what single places hid."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_count, check_ndim, check_positive, check_probability
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.core.keys import require_key
from funcnet.functional.dropout import keep_mask

__all__ = ["drop_block1d", "drop_block2d", "drop_block3d"]


def drop_block1d(
    input: Array,
    p: float,
    block_size: int,
    *,
    eps: float = 1e-06,
    training: bool = True,
    key: Key | None = None,
) -> Array:
    """Zero blocks of each channel of ``(N, C, L)`` or ``(C, L)``; see `drop_block2d`.

    Args:
        input: shape ``(N, C, L)`` or ``(C, L)``.
        p: about the share of places that are zeroed.
        block_size: length of a block; at most that of the input is used.
        eps: keeps the scale finite where all is zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, ``block_size`` not positive, or the shape has other axes.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.drop_block1d(jnp.ones((1, 4, 16)), 0.2, 5, key=jax.random.key(0)).shape
        (1, 4, 16)

    Reference: Ghiasi et al., DropBlock, 2018, https://arxiv.org/abs/1810.12890.
    """
    check_ndim("input", jnp.ndim(input), (2, 3), "(C, L) or (N, C, L)")
    return _drop_blocks("drop_block1d", 1, input, p, block_size, eps, training, key)


def drop_block2d(
    input: Array,
    p: float,
    block_size: int,
    *,
    eps: float = 1e-06,
    training: bool = True,
    key: Key | None = None,
) -> Array:
    r"""Zero square blocks of each channel, and scale what stays so that the mean of the mask is one.

    Each place at which a block fits is the corner of one with probability

    .. math:: \gamma = \frac{p\, H W}{b^2 (H - b + 1)(W - b + 1)}

    Args:
        input: shape ``(N, C, H, W)`` or ``(C, H, W)``.
        p: about the share of places that are zeroed: less where blocks overlap.
        block_size: side ``b`` of a block; at most the input's shortest side is used.
        eps: keeps the scale finite where all is zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype. All samples of the batch share one scale.

    Raises:
        ValueError: ``p`` is not a probability, ``block_size`` not positive, or the shape has other axes.
        TypeError: the input holds integers or booleans, or ``block_size`` is no whole number.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> y = F.drop_block2d(jnp.ones((2, 4, 16, 16)), 0.2, 5, key=jax.random.key(0))
        >>> round(float(y.mean()), 3)
        1.0

    Reference: Ghiasi et al., DropBlock, 2018, https://arxiv.org/abs/1810.12890;
        ``torchvision.ops.drop_block2d``, which takes odd sizes only.
    """
    check_ndim("input", jnp.ndim(input), (3, 4), "(C, H, W) or (N, C, H, W)")
    return _drop_blocks("drop_block2d", 2, input, p, block_size, eps, training, key)


def drop_block3d(
    input: Array,
    p: float,
    block_size: int,
    *,
    eps: float = 1e-06,
    training: bool = True,
    key: Key | None = None,
) -> Array:
    """Zero cubes of each channel of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see `drop_block2d`.

    Args:
        input: shape ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
        p: about the share of places that are zeroed.
        block_size: side of a block; at most the input's shortest side is used.
        eps: keeps the scale finite where all is zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, ``block_size`` not positive, or the shape has other axes.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.drop_block3d(jnp.ones((4, 8, 8, 8)), 0.2, 3, key=jax.random.key(0)).shape
        (4, 8, 8, 8)

    Reference: Ghiasi et al., DropBlock, 2018, https://arxiv.org/abs/1810.12890;
        ``torchvision.ops.drop_block3d``.
    """
    check_ndim("input", jnp.ndim(input), (4, 5), "(C, D, H, W) or (N, C, D, H, W)")
    return _drop_blocks("drop_block3d", 3, input, p, block_size, eps, training, key)


def check_block(p: float, block_size: int) -> None:
    """Check the settings of DropBlock.

    Example:
        >>> from funcnet.functional.regularization.drop_block import check_block
        >>> check_block(0.1, 7)
    """
    check_probability("p", p)
    check_count("block_size", block_size)
    check_positive("block_size", block_size)


def _drop_blocks(
    function: str,
    axes: int,
    input: Array,
    p: float,
    block_size: int,
    eps: float,
    training: bool,
    key: Key | None,
) -> Array:
    check_block(p, block_size)
    (x,) = as_floats(function, input=input)
    if not training or p == 0 or not x.size:
        return x
    sides = x.shape[-axes:]
    block = min(block_size, *sides)
    rate = block_rate(p, block, sides)
    if rate == 1:
        return jnp.zeros_like(x)
    corners = x.shape[:-axes] + tuple(side - block + 1 for side in sides)
    seeds = ~keep_mask(require_key(function, key, like=x), corners, rate)
    # Marked, so that a block of a model that is computed again in the backward pass does not draw again.
    keep = checkpoint_name(~_grown(seeds, block, axes), "dropout")
    wide = at_least_float32(x.dtype)
    scale = keep.size / (eps + jnp.sum(keep, dtype=wide))
    return jnp.where(keep, x.astype(wide) * scale, 0).astype(x.dtype)


def block_rate(p: float, block: int, sides: tuple[int, ...]) -> float:
    """Return how probable a block has to be at each place where one fits, for a share ``p`` of all places.

    Args:
        p: the share, if no two blocks overlapped.
        block: its side.
        sides: of the feature map, none shorter than the block.

    Example:
        >>> from funcnet.functional.regularization.drop_block import block_rate
        >>> block_rate(0.25, 1, (8, 8)), block_rate(0.25, 8, (8, 8))
        (0.25, 0.25)
    """
    places = math.prod(side - block + 1 for side in sides)
    return p * math.prod(sides) / (block ** len(sides) * places)


def _grown(seeds: Array, block: int, axes: int) -> Array:
    """Mark all places of the blocks whose first places are marked."""
    marks = seeds.astype(jnp.uint8)
    for axis in range(seeds.ndim - axes, seeds.ndim):
        window = tuple(block if at == axis else 1 for at in range(seeds.ndim))
        around = tuple((size - 1, size - 1) for size in window)
        strides = (1,) * seeds.ndim
        marks = jax.lax.reduce_window(marks, np.uint8(0), jax.lax.max, window, strides, around)
    return marks > 0
