"""Attention whose scores a function changes: the formula, and by blocks of a block mask.

A block of queries is one turn: it takes the blocks of keys that its row of the mask lists, and is the plain formula
with these, computed again in the backward pass. What no row lists is never multiplied.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.attention.block_mask import BlockMask
from funcnet.functional.attention.plain import product, shares_heads
from funcnet.functional.attention.positions import MaskMod, Positions, ScoreMod, over_positions

__all__ = ["FlexOutput", "FlexSettings", "flex_by_blocks", "flex_plain"]

GROUPS = 8
"""Into how many groups the rows of a known block mask are sorted: each is compiled, for its number of blocks."""


KEPT = "flex_attention"
"""What a block of queries keeps for the backward pass by name: its results, whose size grows with the length."""

_recomputed = functools.partial(
    jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(KEPT)
)


class FlexSettings(NamedTuple):
    """What all forms are told besides arrays."""

    score_mod: ScoreMod | None
    scale: Any


class FlexOutput(NamedTuple):
    """What attention yields."""

    output: Array
    """``(B, H, L, Ev)``."""
    lse: Array
    """``(B, H, L)``: the logarithm of the sum of the scores' exponentials."""
    max_scores: Array
    """``(B, H, L)``: the largest score."""


def flex_plain(
    settings: FlexSettings, query: Array, key: Array, value: Array, block_mask: BlockMask | None
) -> FlexOutput:
    """Attend with all scores in memory.

    Args:
        settings: what does not change.
        query: ``(B, Hq, L, E)``.
        key: ``(B, H, S, E)``.
        value: ``(B, H, S, Ev)``.
        block_mask: of these lengths.
    """
    sizes = *query.shape[:2], query.shape[2], key.shape[2]
    batch, heads, rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in sizes)
    at = Positions(batch, heads, rows[None, None], columns[None, None])
    if block_mask is None:
        return _attend(settings, query, key, value, at, None)
    size = block_mask.BLOCK_SIZE
    partial, full = (_spread(jnp.asarray(x), size, sizes[2:]) for x in block_mask.block_kinds())
    allowed = over_positions(block_mask.mask_mod, at) & partial | full
    return _attend(settings, query, key, value, at, allowed)


def _spread(blocks: Array, size: tuple[int, int], lengths: tuple[int, int]) -> Array:
    """Turn booleans for blocks into booleans for scores."""
    for axis in (-2, -1):
        blocks = jnp.repeat(blocks, size[axis], axis)
    return blocks[..., : lengths[0], : lengths[1]]


def _attend(
    settings: FlexSettings,
    query: Array,
    key: Array,
    value: Array,
    at: Positions,
    allowed: Array | None,
) -> FlexOutput:
    """Compute the formula; queries that may attend to nothing yield zeros."""
    scores = product(query, key, (-1, -1)) * settings.scale
    if settings.score_mod is not None:
        scores = over_positions(settings.score_mod, at, scores).astype(scores.dtype)
    if allowed is not None:
        scores = jnp.where(allowed, scores, -jnp.inf)
    return FlexOutput(*_mean(scores, value))


@jax.custom_jvp
def _mean(scores: Array, value: Array) -> tuple[Array, Array, Array]:
    """Return the mean of the values, the logarithm of the weights' sum, and the largest score."""
    least = float(jnp.finfo(scores.dtype).min)  # finite, so that no row subtracts -inf from -inf
    largest = scores.max(-1, keepdims=True, initial=least)
    weights = jnp.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    empty = total == 0
    total = jnp.where(empty, 1.0, total)
    output = product(weights, value.astype(weights.dtype), (-1, -2)) / total
    lse, largest = (
        jnp.where(empty, -jnp.inf, x)[..., 0] for x in (largest + jnp.log(total), largest)
    )
    return output.astype(value.dtype), lse, largest


@_mean.defjvp
def _mean_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    """Need nothing of the forward pass but its results: who keeps them multiplies once less in the backward pass."""
    (scores, value), (d_scores, d_value) = primals, tangents
    output, lse, largest = (checkpoint_name(x, KEPT) for x in _mean(scores, value))
    wide = scores.dtype
    weights = jnp.exp(scores - jnp.where(lse == -jnp.inf, 0.0, lse)[..., None])
    moved = weights * d_scores
    d_lse = moved.sum(-1)
    change = product(moved, value.astype(wide), (-1, -2))
    change = change + product(weights, d_value.astype(wide), (-1, -2))
    change = change - output.astype(wide) * d_lse[..., None]
    results = output, lse, largest
    return results, (change.astype(value.dtype), d_lse, jnp.zeros_like(largest))


# ---- by blocks


class _Plan(NamedTuple):
    """Which blocks each row takes, of NumPy where that is known; leading axes ``(1 or B, 1 or H)``."""

    order: Any
    """``(b, h, rows)``: rows by their number of blocks, the longest first."""
    counts: Any
    """``(rows,)``: how many blocks the longest row in each place of that order takes."""
    blocks: Any
    """``(b, h, rows, blocks of keys)``: those that it takes, before others."""
    kinds: Any
    """The same of what they are: 0 if not taken, 1 if the mask says more, 2 if all of it is."""


def _plan(block_mask: BlockMask) -> _Plan:
    partial, full = block_mask.block_kinds()
    xp: Any = np if isinstance(partial, np.ndarray) else jnp
    taken = partial | full
    numbers = taken.sum(-1).astype(np.int32)
    order = xp.argsort(-numbers, axis=-1, stable=True).astype(np.int32)
    blocks = xp.argsort(~taken, axis=-1, stable=True).astype(np.int32)
    kinds = xp.where(full, 2, xp.where(partial, 1, 0)).astype(np.int32)
    kinds = xp.take_along_axis(kinds, blocks, -1)
    blocks, kinds = (xp.take_along_axis(x, order[..., None], -2) for x in (blocks, kinds))
    counts = xp.take_along_axis(numbers, order, -1).max((0, 1))
    return _Plan(order, counts, blocks, kinds)


class _Blocks(NamedTuple):
    """Arrays cut into blocks, ``(B, heads, blocks, length, features)``, and their lengths before they were filled up."""

    query: Array
    key: Array
    value: Array
    lengths: tuple[int, int]


def flex_by_blocks(
    settings: FlexSettings, query: Array, key: Array, value: Array, block_mask: BlockMask
) -> FlexOutput:
    """Attend by the blocks that a mask lists; arguments as of `flex_plain`."""
    rows, columns = block_mask.BLOCK_SIZE
    dtype, wide = value.dtype, at_least_float32(value.dtype)
    plan, lengths = _plan(block_mask), (query.shape[2], key.shape[2])
    if plan.order.shape[1] > 1 and shares_heads(query, key):
        key, value = (jnp.repeat(x, query.shape[1] // x.shape[1], 1) for x in (key, value))
    # Products are summed over blocks in 32 bits, gradients too.
    blocks = _Blocks(
        _cut(query.astype(wide), rows), *(_cut(x.astype(wide), columns) for x in (key, value)), lengths
    )
    row = functools.partial(_row, settings._replace(scale=1.0), block_mask.mask_mod)
    blocks = blocks._replace(query=blocks.query * settings.scale)
    turns = _known_turns if isinstance(plan.counts, np.ndarray) else _counted_turns
    found = turns(row, blocks, plan)
    back = jnp.argsort(jnp.asarray(plan.order), axis=-1)
    whole = FlexOutput(*(_take(x, back) for x in found))
    merged = (x.reshape(*x.shape[:2], -1, *x.shape[4:])[:, :, : lengths[0]] for x in whole)
    output, *rest = merged
    return FlexOutput(output.astype(dtype), *rest)


def _cut(array: Array, size: int) -> Array:
    """Cut ``(B, H, length, features)`` into blocks, the last one filled up with zeros."""
    batch, heads, length, features = array.shape
    missing = -length % size
    if missing:
        array = jnp.pad(array, ((0, 0), (0, 0), (0, missing), (0, 0)))
    return array.reshape(batch, heads, -1, size, features)


def _take(array: Array, places: Array) -> Array:
    """Take blocks ``(B, H, n, ...)`` of an array, others in each example or head where places ``(b, h, n)`` have those."""

    def one(array: Array, places: Array) -> Array:
        return array.at[places].get(mode="promise_in_bounds")

    for axis in (1, 0):
        if places.shape[axis] > 1:
            one = jax.vmap(one, (0, 0))
        else:
            one = jax.vmap(one, (0, None))
    alone = [slice(None) if size > 1 else 0 for size in places.shape[:2]]
    return one(array, places[tuple(alone)])


def _row(
    settings: FlexSettings,
    mask_mod: MaskMod,
    lengths: tuple[int, int],
    query: Array,
    key: Array,
    value: Array,
    row: Array,
    taken: Array,
    kinds: Array,
) -> FlexOutput:
    """Compute one block of queries with the blocks of keys that it takes.

    Args:
        settings: what does not change.
        mask_mod: what says more of blocks of kind 1.
        lengths: of the whole: what lies beyond them takes no part.
        query: blocks of queries.
        key: blocks of keys.
        value: blocks of values.
        row: ``(b, h)``, which block of queries.
        taken: ``(b, h, n)``, which blocks of keys.
        kinds: ``(b, h, n)``, what they are.
    """
    size, width = query.shape[3], key.shape[3]
    query = _take(query, row[..., None])[:, :, 0]
    key, value = (_flat(_take(x, taken)) for x in (key, value))
    places = row[..., None] * size + jnp.arange(size, dtype=jnp.int32)
    columns = taken[..., None] * width + jnp.arange(width, dtype=jnp.int32)
    columns = columns.reshape(*columns.shape[:2], -1)
    inside = columns < lengths[1]
    batch, heads = (jnp.arange(n, dtype=jnp.int32) for n in query.shape[:2])
    at = Positions(
        batch, heads, jnp.minimum(places, lengths[0] - 1), jnp.minimum(columns, lengths[1] - 1)
    )
    kinds = jnp.repeat(kinds, width, -1)
    some, full = ((kinds >= kind) & inside for kind in (1, 2))
    allowed = over_positions(mask_mod, at) & some[..., None, :] | full[..., None, :]
    return _attend(settings, query, key, value, at, allowed)


def _flat(array: Array) -> Array:
    return array.reshape(*array.shape[:2], -1, array.shape[-1])


def _known_turns(row: Callable[..., FlexOutput], blocks: _Blocks, plan: _Plan) -> FlexOutput:
    """Compute rows in groups of one number of blocks; returns blocks of queries in the order of the plan."""
    parts = []
    for start, stop, width in _groups(plan.counts, plan.blocks.shape[-1]):
        turns = (
            plan.order[:, :, start:stop],
            plan.blocks[:, :, start:stop, :width],
            plan.kinds[:, :, start:stop, :width],
        )

        def turn(given: Any) -> FlexOutput:
            return _recomputed(functools.partial(row, blocks.lengths))(*blocks[:3], *given)

        if stop - start == 1:
            found = FlexOutput(*(x[:, :, None] for x in turn([jnp.asarray(x[:, :, 0]) for x in turns])))
        else:
            first = tuple(jnp.asarray(np.moveaxis(x, 2, 0)) for x in turns)
            found = FlexOutput(*(jnp.moveaxis(x, 0, 2) for x in jax.lax.map(turn, first)))
        parts.append(found)
    return FlexOutput(*(jnp.concatenate(x, 2) for x in zip(*parts, strict=True)))


def _groups(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Cut falling counts into groups: where each starts and stops, and for how many blocks it is compiled."""
    step = max(1, -(-int(counts.max()) // GROUPS))
    widths = np.minimum(-(-counts // step) * step, most)
    starts = [0, *(np.nonzero(np.diff(widths))[0] + 1), len(widths)]
    return [
        (int(a), int(b), int(widths[a])) for a, b in zip(starts[:-1], starts[1:], strict=True)
    ]


def _counted_turns(row: Callable[..., FlexOutput], blocks: _Blocks, plan: _Plan) -> FlexOutput:
    """Compute rows whose numbers of blocks are known only as the program runs."""
    most = plan.blocks.shape[-1]
    widths = [0, *(1 << n for n in range(most.bit_length()) if 1 << n < most), most]

    def of_width(width: int) -> Callable[..., FlexOutput]:
        def run(query, key, value, place, taken, kinds):
            return row(blocks.lengths, query, key, value, place, taken[..., :width], kinds[..., :width])

        return _recomputed(run)

    branches = [of_width(width) for width in widths]

    def turn(given: Any) -> FlexOutput:
        count, *rest = given
        which = jnp.searchsorted(jnp.asarray(widths), count)
        return jax.lax.switch(which, branches, *blocks[:3], *rest)

    turns = plan.order, plan.blocks, plan.kinds
    found = jax.lax.map(turn, (plan.counts, *(jnp.moveaxis(x, 2, 0) for x in turns)))
    return FlexOutput(*(jnp.moveaxis(x, 0, 2) for x in found))
