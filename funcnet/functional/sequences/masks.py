"""Masks that say which positions of a batch are real, and which of them belong together."""

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_integers, known_values

__all__ = ["length_mask", "segment_mask"]


def length_mask(lengths: ArrayLike, size: int, *, padding_side: str = "right") -> Array:
    """Say which positions of a padded batch are real.

    Losses take it as ``where=``, `scaled_dot_product_attention` as ``mask[:, None, None]``, and
    `multi_head_attention_forward` as ``key_padding_mask=~mask``.

    Args:
        lengths: of each sequence, integers of shape ``(*,)``. Those that are known lie in 0 to ``size``; of those
            that are traced, one below counts as 0 and one above as ``size``.
        size: number of positions, a number that is known: the mask has one shape for all lengths.
        padding_side: ``"right"``, after the end of a sequence, or ``"left"``, before its beginning.

    Returns:
        A boolean array ``(*, size)``, True for what is real.

    Raises:
        ValueError: known lengths outside of 0 to ``size``, or an unknown side.
        TypeError: lengths that are no integers.

    Example:
        >>> F.length_mask(jnp.array([1, 3]), 3).tolist()
        [[True, False, False], [True, True, True]]
    """
    check_choice("padding_side", padding_side, ("right", "left"))
    check_lengths(lengths, size)
    lengths = jnp.asarray(lengths)
    if lengths.dtype.itemsize < 4:
        lengths = lengths.astype(jnp.int32)  # so that it holds every place
    places = jnp.arange(size, dtype=lengths.dtype)
    if padding_side == "left":
        places = places[::-1]
    return places < lengths[..., None]


def check_lengths(lengths: ArrayLike, size: int) -> None:
    """Raise for lengths that are no integers, or known and outside of 0 to a size.

    >>> from funcnet.functional.sequences.masks import check_lengths
    >>> check_lengths([1, 3], 3)
    """
    values = known_values(lengths)
    check_integers("lengths", lengths if values is None else values)  # pyright: ignore[reportArgumentType]
    if values is not None and values.size and (values.min() < 0 or values.max() > size):
        raise ValueError(f"lengths must lie in [0, {size}]; got {values.tolist()}")


def segment_mask(
    segment_ids: ArrayLike, key_segment_ids: ArrayLike | None = None, *, causal: bool = False
) -> Array:
    """Say which positions of packed sequences may attend to each other: those of one segment.

    The mask of `scaled_dot_product_attention` and of `nn.GroupedQueryAttention`. What has the number 0 is padding,
    and takes part in nothing. Layers with an argument ``segment_ids`` make this mask themselves.

    Args:
        segment_ids: of the queries, integers of shape ``(*, L)``, as `data.pack` yields.
        key_segment_ids: of the keys, ``(*, S)``, where those are others: what is packed beside the queries, a
            query attends to the segment of its own number.
        causal: let positions attend to themselves and earlier ones only.

    Returns:
        A boolean array ``(*, 1, L, S)`` with an axis for the heads, True for what takes part.

    Raises:
        ValueError: a causal mask between two sequences.
        TypeError: segment ids that are no integers.

    Example:
        >>> F.segment_mask(jnp.array([1, 1, 2, 0]), causal=True)[0].astype(int).tolist()
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    """
    if causal and key_segment_ids is not None:
        raise ValueError(
            "causal=True compares places in one sequence: leave out key_segment_ids, or join the mask with "
            "one of your own by &"
        )
    queries = segment_array("segment_ids", segment_ids)
    keys = queries
    if key_segment_ids is not None:
        keys = segment_array("key_segment_ids", key_segment_ids).astype(queries.dtype)
    mask = let_xla_place(_same_segment, queries, keys, kept=queries.ndim)
    if causal:
        mask &= jnp.asarray(np.tri(queries.shape[-1], dtype=bool))
    return mask[..., None, :, :]


def _same_segment(queries: Array, keys: Array) -> Array:
    return (queries[..., :, None] == keys[..., None, :]) & (keys != 0)[..., None, :]


def segment_array(name: str, segment_ids: ArrayLike) -> Array:
    """Return segment ids as an array, and check that they are ones.

    Small integers become int32: they are compared with numbers that 8 bits do not hold.

    >>> from funcnet.functional.sequences.masks import segment_array
    >>> segment_array("segment_ids", [1, 1, 2]).shape
    (3,)
    """
    found = jnp.asarray(segment_ids)
    check_integers(name, found)
    if not found.ndim:
        raise ValueError(f"{name} must have shape (*, L), one for each position; got a scalar")
    return found.astype(jnp.int32) if found.dtype.itemsize < 4 else found
