"""Attention by blocks of queries: what it takes in memory grows with the length, and not with its square.

Each block is the plain formula, and is computed again in the backward pass. So every mask, rule and derivative is the
plain formula's. A causal block leaves out the keys that lie ahead of all of its queries.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.attention.plain import AttentionSettings, plain_attention, scores_shape

__all__ = ["chunked_attention", "rows_of_a_block"]

BLOCK_BYTES = 1 << 20
"""Scores of a block, all heads and examples together, unless that leaves fewer rows than the next line says."""

FEWEST_ROWS, MOST_ROWS = 64, 512

PREFIXES = 8
"""Into how many parts causal queries are cut at most: each part is compiled by itself, for its number of keys."""


def rows_of_a_block(scores: tuple[int, ...]) -> int:
    """Choose how many queries one block has, for scores ``(*, L, S)`` of the whole."""
    *leading, _, keys = scores
    fitting = BLOCK_BYTES // (4 * max(1, math.prod(leading) * keys))
    return min(MOST_ROWS, max(FEWEST_ROWS, fitting))


def chunked_attention(
    settings: AttentionSettings,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    dropout_key: Key | None,
) -> Array:
    """Attend block by block; arguments as of `plain_attention`.

    Dropout draws each block's weights from a key of the block's own: the same rate, other bits than the plain form.
    """
    rows = rows_of_a_block(scores_shape(query, key))
    # The blocks' gradients of keys and values are summed in 32 bits: products of 16-bit floats are exact there.
    dtype, wide = value.dtype, at_least_float32(value.dtype)
    key, value = key.astype(wide), value.astype(wide)

    @jax.checkpoint
    def block(query: Array, key: Array, value: Array, mask: Array | None, first: Array | int):
        drawn = None if dropout_key is None else jax.random.fold_in(dropout_key, first)
        arrays = query.astype(wide), key, value
        return plain_attention(settings, *arrays, mask, drawn, first=first)[0].astype(dtype)

    outputs = []
    for start, count, length in _parts(query.shape[-2], rows, settings.is_causal):
        stop = start + count * length
        keys = min(stop, key.shape[-2]) if settings.is_causal else key.shape[-2]
        part = query[..., start:stop, :]
        mask = _rows_of(attn_mask, start, stop)
        k, v = key[..., :keys, :], value[..., :keys, :]
        if count == 1:
            outputs.append(block(part, k, v, mask, start))
            continue
        firsts = start + length * jnp.arange(count, dtype=jnp.int32)
        turns = _blocks(part, count), _mask_blocks(mask, count), firsts

        def turn(given, k=k, v=v, mask=mask):
            query, rows, first = given
            return block(query, k, v, mask if rows is None else rows, first)

        output = jnp.moveaxis(jax.lax.map(turn, turns), 0, -3)
        outputs.append(output.reshape(*output.shape[:-3], count * length, output.shape[-1]))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -2)


def _parts(length: int, rows: int, is_causal: bool) -> Iterator[tuple[int, int, int]]:
    """Cut queries into parts of whole blocks: where each starts, its number of blocks, their rows."""
    whole = length // rows
    step = max(1, -(-whole // PREFIXES) if is_causal else whole)
    for block in range(0, whole, step):
        yield block * rows, min(step, whole - block), rows
    if length % rows or not length:
        yield whole * rows, 1, length - whole * rows


def _rows_of(mask: Array | None, start: int, stop: int) -> Array | None:
    """Take a mask's rows for some queries; what broadcasts along queries stays whole."""
    if mask is None or mask.ndim < 2 or mask.shape[-2] == 1:
        return mask
    return mask[..., start:stop, :]


def _mask_blocks(mask: Array | None, count: int) -> Array | None:
    """Cut a mask into blocks; None if one serves all."""
    return None if mask is None or mask.ndim < 2 or mask.shape[-2] == 1 else _blocks(mask, count)


def _blocks(array: Array, count: int) -> Array:
    """Cut ``(*, count * rows, features)`` into ``(count, *, rows, features)``."""
    *leading, length, features = array.shape
    return jnp.moveaxis(array.reshape(*leading, count, length // count, features), -3, 0)
