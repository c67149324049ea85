"""Dropout: set random elements or whole channels to zero, and scale the others up.

A mask belongs to the places of the whole array: any number of devices that share it out drop the same elements.
Inside `jax.shard_map` a function sees its device's part alone. There a key that all devices share is folded with
the device's place, along the axes over which the input varies and the key does not, so that each part has a mask of
its own. With ``check_vma=False`` JAX does not tell what varies: fold ``jax.lax.axis_index`` of the axes into the key
yourself. Where parts are equal and JAX does not know it, as after ``all_gather``, ask for equal masks with
``jax.lax.pcast(key, axes, to="varying")``. All functions that take a ``key`` follow this rule.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_ndim, check_probability
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.core.keys import require_key
from funcnet.functional.activations.exponential import SELU_ALPHA, SELU_SCALE
from funcnet.functional.residuals import keeping_arguments

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

SELU_FLOOR = -SELU_SCALE * SELU_ALPHA
"""What SELU levels off at: its value of silence, as zero is that of ReLU."""


def dropout(
    input: Array, p: float = 0.5, training: bool = True, *, key: Key | None = None
) -> Array:
    """Zero each element with probability ``p`` and divide the others by ``1 - p``.

    ``y = x m / (1 - p)``, where ``m`` is 0 with probability ``p``, else 1.

    Args:
        input: array of any shape.
        p: probability of an element to be zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.dropout(jnp.ones(4), 1.0, key=jax.random.key(0)).tolist()
        [0.0, 0.0, 0.0, 0.0]

    Reference: Srivastava et al., Dropout, 2014.
    """
    return silenced("dropout", input, jnp.shape, p, training, key)


def dropout1d(
    input: Array, p: float = 0.5, training: bool = True, *, key: Key | None = None
) -> Array:
    """Zero whole channels of ``(N, C, L)`` or ``(C, L)`` with probability ``p``.

    Args:
        input: shape ``(N, C, L)`` or ``(C, L)``.
        p: probability of a channel to be zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, or the input has another number of axes.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.dropout1d(jnp.ones((1, 8, 5)), key=jax.random.key(0)).std(-1).sum().tolist()
        0.0

    Reference: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2014,
    https://arxiv.org/abs/1411.4280.
    """
    check_ndim("input", input.ndim, (2, 3), "(C, L) or (N, C, L)")
    return silenced("dropout1d", input, _channels(input.ndim == 3), p, training, key)


def dropout2d(
    input: Array, p: float = 0.5, training: bool = True, *, key: Key | None = None
) -> Array:
    """Zero whole channels of ``(N, C, H, W)`` with probability ``p``.

    An input of three axes is taken as ``(N, C, L)``, as PyTorch does.

    Args:
        input: shape ``(N, C, H, W)`` or ``(N, C, L)``.
        p: probability of a channel to be zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, or the input has no channels.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.dropout2d(jnp.ones((1, 8, 5, 5)), key=jax.random.key(0)).std((2, 3)).sum().tolist()
        0.0

    Reference: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2014,
    https://arxiv.org/abs/1411.4280.
    """
    return silenced("dropout2d", input, _channels(True), p, training, key)


def dropout3d(
    input: Array, p: float = 0.5, training: bool = True, *, key: Key | None = None
) -> Array:
    """Zero whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` with probability ``p``.

    Args:
        input: shape ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
        p: probability of a channel to be zeroed.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.dropout3d(jnp.ones((8, 2, 2, 2)), key=jax.random.key(0)).std((1, 2, 3)).sum().tolist()
        0.0

    Reference: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2014,
    https://arxiv.org/abs/1411.4280.
    """
    return silenced("dropout3d", input, _channels(input.ndim == 5), p, training, key)


def alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, *, key: Key | None = None
) -> Array:
    """Set elements to the value that SELU levels off at, with probability ``p``.

    ``y = a (x m + s (1 - m)) + b``, where ``m`` is 0 with probability ``p``, else 1, and ``s`` is -1.7581;
    ``a = 1 / √((1 - p) (1 + p s²))`` and ``b = -a p s`` leave zero mean and unit variance as they are.

    Args:
        input: array of any shape.
        p: probability of an element to be silenced.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> F.alpha_dropout(jnp.ones(3), 0.5).tolist()
        [1.0, 1.0, 1.0]

    Reference: Klambauer et al., Self-Normalizing Neural Networks, 2017,
    https://arxiv.org/abs/1706.02515.
    """
    return silenced("alpha_dropout", input, jnp.shape, p, training, key, SELU_FLOOR)


def feature_alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, *, key: Key | None = None
) -> Array:
    """Set whole channels to the value that SELU levels off at, with probability ``p``.

    Zero mean and unit variance stay as they are, as in `alpha_dropout`.

    Args:
        input: shape ``(N, C, *)``.
        p: probability of a channel to be silenced.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, or the input has no channels.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> x = jnp.ones((1, 8, 5))
        >>> F.feature_alpha_dropout(x, 0.5, True, key=jax.random.key(0)).std(-1).sum().tolist()
        0.0

    Reference: Klambauer et al., Self-Normalizing Neural Networks, 2017,
    https://arxiv.org/abs/1706.02515.
    """
    return silenced("feature_alpha_dropout", input, _channels(True), p, training, key, SELU_FLOOR)


def _channels(batched: bool) -> Callable[[Array], tuple[int, ...]]:
    """Return a function that gives the shape of a mask with one entry a channel."""
    kept = 2 if batched else 1

    def shape(input: Array) -> tuple[int, ...]:
        if input.ndim < kept and input.size:
            raise ValueError(f"input must have shape (N, C, ...); got {input.shape}")
        return input.shape[:kept] + (1,) * (input.ndim - kept)

    return shape


def silenced(
    function: str,
    input: Array,
    mask_shape: Callable[[Array], tuple[int, ...]],
    p: float,
    training: bool,
    key: Key | None,
    floor: float = 0.0,
) -> Array:
    """Set what a mask of some shape silences to a floor, and scale and shift everything for it.

    With a floor of zero each element keeps its expected value; with another one, elements of zero
    mean and unit variance keep both.

    Args:
        function: the name of the function that the user called.
        input: array of any shape.
        mask_shape: gives the shape of the mask, of the input.
        p: probability of a place of the mask to be silenced.
        training: without it the input is returned as it is.
        key: random key.
        floor: what is set.

    Example:
        >>> from funcnet.functional.dropout import silenced
        >>> silenced("dropout", jnp.ones(2), jnp.shape, 1.0, True, None).tolist()
        [0.0, 0.0]
    """
    check_probability("p", p)
    (x,) = as_floats(function, input=input)
    if not training or p == 0:
        return x
    shape = mask_shape(x)
    if p == 1:
        return jnp.zeros_like(x)
    # Marked, so that a block that is computed again in the backward pass does not draw again.
    keep = checkpoint_name(keep_mask(require_key(function, key, like=x), shape, p), "dropout")
    if floor == 0:
        return _keep_some(keep, x, scale=1 / (1 - p), offset=0.0, silent=0.0)
    scale = 1 / math.sqrt((floor * floor * p + 1) * (1 - p))
    offset = -floor * p * scale
    return _keep_some(keep, x, scale=scale, offset=offset, silent=floor * scale + offset)


@keeping_arguments
def _keep_some(keep: Array, x: Array, *, scale: float, offset: float, silent: float) -> Array:
    wide = x.astype(at_least_float32(x.dtype)) * scale
    return jnp.where(keep, wide if offset == 0 else wide + offset, silent).astype(x.dtype)


def keep_mask(key: Key, shape: tuple[int, ...], p: float) -> Array:
    """Return a boolean array that is False with probability ``p``.

    Random words are the cost of dropout, so each is cut into as many pieces of 8 or 16 bits as give
    ``p`` to four digits. Pieces are cut along the last axis: the mask of a sharded array is made
    where its pieces lie.

    Args:
        key: random key.
        shape: of the mask.
        p: above zero and below one.

    Example:
        >>> from funcnet.functional.dropout import keep_mask
        >>> keep_mask(jax.random.key(0), (2, 3), 0.5).shape
        (2, 3)
    """
    bits = next(b for b in (8, 16, 32) if b == 32 or _rounding(p, b) <= 1e-4 * min(p, 1 - p))
    least = min(round(p * 2**bits), 2**bits - 1)
    pieces = 32 // bits
    if pieces == 1 or not shape:
        words = jax.random.bits(key, shape, jnp.uint32)
        return words >= jnp.uint32(min(round(p * 2**32), 2**32 - 1))
    *leading, last = shape
    words = jax.random.bits(key, (*leading, -(-last // pieces)), jnp.uint32)
    parts = _pieces(words, bits)
    flat = parts.reshape(*leading, -1)[..., :last] if words.size else jnp.zeros(shape, parts.dtype)
    return flat >= flat.dtype.type(least)


def _pieces(words: Array, bits: int) -> Array:
    """Cut words into pieces along a new last axis, the least significant first."""
    dtype = jnp.uint8 if bits == 8 else jnp.uint16
    if all(isinstance(length, int) for length in words.shape):
        return jax.lax.bitcast_convert_type(words, dtype)
    # XLA cannot settle the shape of a bitcast where a length is left open for an export
    return (words[..., None] >> jnp.arange(0, 32, bits, dtype=jnp.uint32)).astype(dtype)


def _rounding(p: float, bits: int) -> float:
    return abs(round(p * 2**bits) / 2**bits - p)
