"""Ready masks and scores for `flex_attention`, and how masks are combined."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_count, check_positive
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.attention.positions import MaskMod, ScoreMod, check_mask, expect_sizes

__all__ = [
    "alibi_score",
    "and_masks",
    "causal_mask",
    "dilated_mask",
    "document_mask",
    "noop_mask",
    "or_masks",
    "prefix_mask",
    "relative_bias_score",
    "sliding_window_mask",
    "soft_cap_score",
]


def noop_mask(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
    """Let each query attend to every key.

    Args:
        b: which example.
        h: which head of queries.
        q_idx: which query.
        kv_idx: which key.

    Returns:
        True.

    Example:
        >>> F.create_mask(F.noop_mask, None, None, 2, 3).all()
        Array(True, dtype=bool)

    Reference: ``torch.nn.attention.flex_attention.noop_mask``.
    """
    return jnp.ones((), bool)


def causal_mask(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
    """Let query ``i`` attend to keys ``0 … i``; give the function itself as a mask.

    Args:
        b: which example.
        h: which head of queries.
        q_idx: which query.
        kv_idx: which key.

    Returns:
        Whether the key lies at the query's place or before.

    Example:
        >>> F.create_mask(F.causal_mask, None, None, 3, 3)[0, 0].sum(-1).tolist()
        [1, 2, 3]
    """
    return q_idx >= kv_idx


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """Return the mask that is True where all masks are.

    Args:
        *mask_mods: functions ``mask_mod(b, h, q_idx, kv_idx)``.

    Raises:
        TypeError: one is no mask.

    Example:
        >>> near = F.and_masks(F.causal_mask, lambda b, h, q_idx, kv_idx: q_idx - kv_idx < 2)
        >>> F.create_mask(near, None, None, 4, 4)[0, 0].sum(-1).tolist()
        [1, 2, 2, 2]

    Reference: ``torch.nn.attention.flex_attention.and_masks``.
    """
    for mask_mod in mask_mods:
        check_mask(mask_mod)

    def and_mask(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        found = (mask_mod(b, h, q_idx, kv_idx) for mask_mod in mask_mods)
        return functools.reduce(jnp.logical_and, found, jnp.ones((), bool))

    return and_mask


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """Return the mask that is True where one of the masks is.

    Args:
        *mask_mods: functions ``mask_mod(b, h, q_idx, kv_idx)``.

    Raises:
        TypeError: one is no mask.

    Example:
        >>> first = F.or_masks(F.causal_mask, lambda b, h, q_idx, kv_idx: kv_idx < 2)
        >>> F.create_mask(first, None, None, 4, 4)[0, 0].sum(-1).tolist()
        [2, 2, 3, 4]

    Reference: ``torch.nn.attention.flex_attention.or_masks``.
    """
    for mask_mod in mask_mods:
        check_mask(mask_mod)

    def or_mask(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        found = (mask_mod(b, h, q_idx, kv_idx) for mask_mod in mask_mods)
        return functools.reduce(jnp.logical_or, found, jnp.zeros((), bool))

    return or_mask


def sliding_window_mask(window: int) -> MaskMod:
    """Return a causal mask of the last keys: query ``i`` attends to keys ``i - window … i``.

    Args:
        window: how far back; 0 leaves each query its own key.

    Raises:
        ValueError: it is negative.

    Example:
        >>> F.create_mask(F.sliding_window_mask(1), None, None, 4, 4)[0, 0].sum(-1).tolist()
        [1, 2, 2, 2]

    Reference: Beltagy et al., Longformer, 2020, https://arxiv.org/abs/2004.05150.
    """
    _check_whole("window", window, least=0)

    def sliding_window(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        return (q_idx >= kv_idx) & (q_idx - kv_idx <= window)

    return sliding_window


def dilated_mask(window: int, dilation: int) -> MaskMod:
    """Return a causal mask of every ``dilation``-th of the last keys, ``i - window * dilation … i``.

    Args:
        window: how many keys before its own a query attends to.
        dilation: how far apart they are.

    Raises:
        ValueError: a negative window, or a dilation below 1.

    Example:
        >>> F.create_mask(F.dilated_mask(2, 2), None, None, 6, 6)[0, 0, 5].astype(int).tolist()
        [0, 1, 0, 1, 0, 1]

    Reference: Beltagy et al., Longformer, 2020, https://arxiv.org/abs/2004.05150.
    """
    _check_whole("window", window, least=0)
    _check_whole("dilation", dilation, least=1)

    def dilated(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        back = q_idx - kv_idx
        return (back >= 0) & (back <= window * dilation) & (back % dilation == 0)

    return dilated


def prefix_mask(length: int | Array) -> MaskMod:
    """Return the mask of a prefix language model: all attend to the first keys, and causally to the others.

    Query ``q`` attends to key ``k`` where ``k < max(length, q + 1)``.

    Args:
        length: of the prefix; or one for each example, integers of shape ``(B,)``.

    Raises:
        TypeError: lengths that are not whole numbers, or not one for each example.

    Example:
        >>> F.create_mask(F.prefix_mask(2), None, None, 4, 4)[0, 0].sum(-1).tolist()
        [2, 2, 3, 4]

    Reference: Raffel et al., T5, 2020, https://arxiv.org/abs/1910.10683.
    """
    lengths = jnp.asarray(length)
    if lengths.ndim > 1 or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            "length must be a whole number, or one for each example; got "
            f"{lengths.dtype.name} of shape {lengths.shape}"
        )

    lengths = lengths.astype(jnp.int32)

    def prefix(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        expect_sizes("prefix_mask", b=_examples(lengths) if lengths.ndim else None)
        return (q_idx >= kv_idx) | (kv_idx < (lengths[b] if lengths.ndim else lengths))

    return prefix


def document_mask(segment_ids: Array, kv_segment_ids: Array | None = None) -> MaskMod:
    """Return the mask of sequences packed behind one another: each attends to itself only.

    Args:
        segment_ids: which sequence each query belongs to, integers of shape ``(B, L)``, or ``(L,)`` for all examples;
            a negative number is padding, which attends to nothing.
        kv_segment_ids: the same of the keys; by default the queries' own.

    Raises:
        TypeError: ids of another kind or shape.

    Example:
        >>> ids = jnp.array([0, 0, 1, 1, 1, -1])
        >>> mask = F.and_masks(F.document_mask(ids), F.causal_mask)
        >>> F.create_mask(mask, None, None, 6, 6)[0, 0].sum(-1).tolist()
        [1, 2, 1, 2, 3, 0]

    Reference: Krell et al., Efficient Sequence Packing, 2021, https://arxiv.org/abs/2107.02027.
    """
    queries, keys = (
        jnp.asarray(segment_ids if ids is None else ids) for ids in (segment_ids, kv_segment_ids)
    )
    for name, ids in (("segment_ids", queries), ("kv_segment_ids", keys)):
        if ids.ndim not in (1, 2) or not jnp.issubdtype(ids.dtype, jnp.integer):
            raise TypeError(
                f"{name} must be integers of shape (B, length) or (length,); got "
                f"{ids.dtype.name} of shape {ids.shape}"
            )

    def document(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        for ids in (queries, keys):
            expect_sizes("document_mask", b=_examples(ids) if ids.ndim == 2 else None)
        expect_sizes("document_mask", q=queries.shape[-1], kv=keys.shape[-1])
        query, key = (
            ids[b, place] if ids.ndim == 2 else ids[place]
            for ids, place in ((queries, q_idx), (keys, kv_idx))
        )
        return (query == key) & (query >= 0)

    return document


def alibi_score(heads: int) -> ScoreMod:
    """Return ALiBi: a score falls with the distance of its key, by a slope of the head's own.

    ``score - slope[h] |q - k|`` for the positions ``q`` of the query and ``k`` of the key.

    Args:
        heads: number of heads of queries. Head ``i`` of ``2 ** n`` has slope ``2 ** (-8 (i + 1) / heads)``; other
            numbers of heads take those of the next lower power of two, then every second of the next higher.

    Raises:
        ValueError: no heads.

    Example:
        >>> bias = F.alibi_score(8)(0.0, 0, 0, jnp.array(5), jnp.array(3))
        >>> bias
        Array(-1., dtype=float32)

    Reference: Press et al., Train Short, Test Long, 2022, https://arxiv.org/abs/2108.12409.
    """
    _check_whole("heads", heads, least=1)
    slopes = _slopes(heads)

    def alibi(score: Array, b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        expect_sizes("alibi_score", h=heads)
        dtype = at_least_float32(jnp.result_type(score))
        slope = jnp.asarray(slopes, dtype)[h]
        return score - slope * jnp.abs(q_idx - kv_idx).astype(dtype)

    return alibi


def _slopes(heads: int) -> np.ndarray:
    def of_power(count: int) -> np.ndarray:
        return 2.0 ** (-8.0 * np.arange(1, count + 1) / count)

    power = 1 << (heads.bit_length() - 1)
    return np.concatenate([of_power(power), of_power(2 * power)[::2][: heads - power]])


def soft_cap_score(cap: float) -> ScoreMod:
    """Return soft-capping: ``cap * tanh(score / cap)``, which keeps scores between ``-cap`` and ``cap``.

    Args:
        cap: the bound.

    Raises:
        ValueError: it is not positive.

    Example:
        >>> float(F.soft_cap_score(20.0)(jnp.array(1000.0), 0, 0, 0, 0))
        20.0

    Reference: Gemma Team, Gemma 2, 2024, https://arxiv.org/abs/2408.00118.
    """
    check_positive("cap", cap)

    def soft_cap(score: Array, b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        return cap * jnp.tanh(score / cap)

    return soft_cap


def relative_bias_score(table: Array) -> ScoreMod:
    """Return a learned bias of relative positions: what is added is looked up by head and distance.

    ``score + table[h, k - q + reach - 1]`` for the positions ``q`` of the query and ``k`` of the key.

    Args:
        table: ``(heads, 2 * reach - 1)``, or ``(2 * reach - 1,)`` for all heads; the middle is distance 0, what lies
            behind it are keys after the query. Beyond its reach, the outermost entries serve.

    Raises:
        ValueError: a table of another shape.

    Example:
        >>> table = jnp.array([10.0, 1.0, 0.0, 2.0, 20.0])
        >>> F.relative_bias_score(table)(jnp.array(0.0), 0, 0, jnp.array(5), jnp.array(4))
        Array(1., dtype=float32)

    Reference: Shaw et al., 2018, https://arxiv.org/abs/1803.02155; Raffel et al., T5, https://arxiv.org/abs/1910.10683.
    """
    if table.ndim not in (1, 2) or table.shape[-1] % 2 == 0:
        raise ValueError(
            f"table must have shape (heads, 2 * reach - 1), an odd number of distances; got {table.shape}"
        )
    reach = table.shape[-1] // 2

    def relative_bias(score: Array, b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Array:
        expect_sizes("the table of relative_bias_score", h=len(table) if table.ndim == 2 else None)
        place = jnp.clip(kv_idx - q_idx, -reach, reach) + reach
        bias = table[h, place] if table.ndim == 2 else table[place]
        return score + bias.astype(jnp.result_type(score))

    return relative_bias


def _examples(array: Array) -> int | None:
    """Return for how many examples an array is; one serves all."""
    return None if len(array) == 1 else len(array)


def _check_whole(name: str, value: Any, least: int) -> None:
    check_count(name, value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}")
