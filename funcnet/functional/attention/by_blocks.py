"""Attention whose scores a function changes, by the blocks that a mask lists.

A block of queries is one turn: it takes the blocks of keys that its row of the mask lists, and is the plain formula
with these. The backward pass keeps results alone, and computes each block's scores again. What no row lists is
never multiplied.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.core.jax_internals.linear_with_transpose import linear_with_transpose
from funcnet.functional.attention.block_mask import BlockMask
from funcnet.functional.attention.plain import FlexOutput, attend_to, product, shares_heads
from funcnet.functional.attention.positions import (
    FlexSettings,
    Positions,
    changed_scores,
    over_positions,
)
from funcnet.functional.explicit_meshes import spread_like

__all__ = ["flex_by_blocks"]

GROUPS = 8
"""Into how many groups the rows of a known block mask are sorted: each is compiled, for its number of blocks."""


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


@dataclass(frozen=True, eq=False)
class _How:
    """What is no array."""

    settings: FlexSettings
    lengths: tuple[int, int]
    """Of the whole, before the last blocks were filled up."""
    plan: _Plan | None
    """Where it is known."""
    dtypes: tuple[Any, ...]
    """Of the score function's arrays: their gradients are summed in 32 bits."""


class _Floats(NamedTuple):
    """What has derivatives: blocks ``(B, heads, blocks, length, features)``, and arrays of the function of scores."""

    query: Array
    """Its blocks in the order of the plan."""
    key: Array
    value: Array
    score_arrays: tuple[Array | None, ...]


class _Others(NamedTuple):
    """Arrays without derivatives."""

    score_arrays: tuple[Array | None, ...]
    mask_arrays: tuple[Array, ...]
    plan: _Plan | None
    """Where it is counted as the program runs."""


def flex_by_blocks(
    settings: FlexSettings, query: Array, key: Array, value: Array, block_mask: BlockMask
) -> FlexOutput:
    """Attend by the blocks that a mask lists; arguments as of `flex_plain`."""
    rows, columns = block_mask.BLOCK_SIZE
    dtype, wide = value.dtype, at_least_float32(value.dtype)
    plan, lengths = _plan(block_mask), (query.shape[2], key.shape[2])
    key, value = (jnp.broadcast_to(x, (len(query), *x.shape[1:])) for x in (key, value))
    if plan.order.shape[1] > 1 and shares_heads(query, key):
        key, value = (jnp.repeat(x, query.shape[1] // x.shape[1], 1) for x in (key, value))
    query = _cut(query.astype(wide) * jnp.asarray(settings.scale, wide), rows)
    key, value = (_cut(x.astype(wide), columns) for x in (key, value))
    moving = [jnp.issubdtype(x.dtype, jnp.floating) for x in settings.score_arrays]
    arrays = list(zip(settings.score_arrays, moving, strict=True))
    known = isinstance(plan.counts, np.ndarray)
    order = jnp.asarray(plan.order)
    floats = _Floats(
        _take(query, order),
        key,
        value,
        tuple(x.astype(at_least_float32(x.dtype)) if m else None for x, m in arrays),
    )
    others = _Others(
        tuple(None if m else x for x, m in arrays),
        tuple(settings.mask_arrays),
        None if known else plan,
    )
    bare = settings._replace(scale=None, score_arrays=(), mask_arrays=())
    dtypes = tuple(x.dtype for x in settings.score_arrays)
    how = _How(bare, lengths, plan if known else None, dtypes)
    found = _attend_by_blocks(how, floats, others)
    back = jnp.argsort(order, axis=-1)
    output, *rest = (_merge(_take(x, back), lengths[0]) for x in found)
    return FlexOutput(output.astype(dtype), *rest)


def _cut(array: Array, size: int) -> Array:
    """Cut ``(B, H, length, features)`` into blocks, the last one filled up with zeros."""
    batch, heads, length, features = array.shape
    missing = -length % size
    if missing:
        array = jnp.pad(array, ((0, 0), (0, 0), (0, missing), (0, 0)))
    return array.reshape(batch, heads, (length + missing) // size, size, features)


def _merge(blocks: Array, length: int) -> Array:
    """Join blocks ``(B, H, blocks, length, ...)``, without what filled up the last one."""
    batch, heads, count, size, *features = blocks.shape
    return blocks.reshape(batch, heads, count * size, *features)[:, :, :length]


# ---- derivatives


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend_by_blocks(how: _How, floats: _Floats, others: _Others) -> FlexOutput:
    """Return results for blocks of queries in the order of the plan: ``(B, H, blocks, length, ...)``."""
    return _forward(how, floats, others)


@_attend_by_blocks.defjvp
def _attend_by_blocks_jvp(how: _How, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (floats, others), (changes, _) = primals, tangents
    found = FlexOutput(*map(_named, _attend_by_blocks(how, floats, others)))
    residuals = floats, others, jax.lax.stop_gradient(found)
    directions = functools.partial(_tangent, how), functools.partial(_transpose, how)
    output, lse = linear_with_transpose(*directions, residuals, changes)
    return found, FlexOutput(output, lse, jnp.zeros_like(found.max_scores))


def _named(array: Array) -> Array:
    return checkpoint_name(array, "attention")


def _tangent(how: _How, residuals: Any, changes: _Floats) -> tuple[Array, Array]:
    floats, others, _ = residuals
    return jax.jvp(lambda floats: _forward(how, floats, others)[:2], (floats,), (changes,))[1]


def _transpose(how: _How, residuals: Any, cotangents: tuple[Array, Array]) -> _Floats:
    return _pull_back(how, *residuals, cotangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull_back(
    how: _How, floats: _Floats, others: _Others, found: FlexOutput, cotangents: tuple[Array, Array]
) -> _Floats:
    return _backward(how, floats, others, found, cotangents)


@_pull_back.defjvp
def _pull_back_jvp(how: _How, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Differentiate the forward pass twice: its results are kept values of the same arrays."""
    (floats, others, _, cotangents), (d_floats, _, _, d_cotangents) = primals, tangents

    def pull(floats: _Floats, cotangents: Any) -> _Floats:
        return jax.vjp(lambda floats: _forward(how, floats, others)[:2], floats)[1](cotangents)[0]

    change = jax.jvp(pull, (floats, cotangents), (d_floats, d_cotangents))[1]
    return _pull_back(how, *primals), change


# ---- both passes


class _Row(NamedTuple):
    """One block of queries, and what it takes."""

    place: Array
    """``(b, h)``: which block."""
    blocks: Array
    """``(b, h, n)``: which blocks of keys."""
    kinds: Array
    """``(b, h, n)``."""


def _forward(how: _How, floats: _Floats, others: _Others) -> FlexOutput:
    @jax.checkpoint
    def attend(floats: _Floats, row: _Row, query: Array) -> FlexOutput:
        value = _flat(_take(floats.value, row.blocks))
        return attend_to(_scores_of(how, floats, others, row, query), value)

    def turn(carry: None, row: _Row, given: Any) -> tuple[None, Any]:
        return carry, attend(floats, row, *given)

    return _over_rows(how, others, turn, None, (floats.query,))[1]


def _scores_of(
    how: _How, floats: _Floats, others: _Others, row: _Row, query: Array, key: Array | None = None
) -> Array:
    """Compute the scores of one block of queries, with what takes no part at minus infinity."""
    settings = how.settings
    size, width = query.shape[2], floats.key.shape[3]
    places = row.place[..., None] * size + jnp.arange(size, dtype=jnp.int32)
    columns = row.blocks[..., None] * width + jnp.arange(width, dtype=jnp.int32)
    columns = columns.reshape(*columns.shape[:2], -1)
    batch, heads = (jnp.arange(n, dtype=jnp.int32) for n in query.shape[:2])
    last = tuple(length - 1 for length in how.lengths)
    at = Positions(batch, heads, jnp.minimum(places, last[0]), jnp.minimum(columns, last[1]))
    kinds = jnp.repeat(row.kinds, width, -1)
    some, full = (((kinds >= kind) & (columns <= last[1]))[..., None, :] for kind in (1, 2))
    mask = functools.partial(settings.mask, others.mask_arrays)
    allowed = over_positions(mask, at) & some | full
    pairs = zip(floats.score_arrays, others.score_arrays, how.dtypes, strict=True)
    arrays = [y if x is None else x.astype(dtype) for x, y, dtype in pairs]
    settings = settings._replace(score_arrays=arrays)
    key = _flat(_take(floats.key, row.blocks)) if key is None else key
    return changed_scores(settings, query, key, at, allowed)


def _backward(
    how: _How, floats: _Floats, others: _Others, found: FlexOutput, cotangents: tuple[Array, Array]
) -> _Floats:
    """Go through rows again; gradients of keys and values are added where they lie."""

    def turn(carry: Any, row: _Row, given: Any) -> tuple[Any, Array]:
        query, output, lse, d_output, d_lse = given
        key, value = (_flat(_take(x, row.blocks)) for x in (floats.key, floats.value))

        def scores_of(query: Array, key: Array, arrays: Any) -> Array:
            return _scores_of(how, floats._replace(score_arrays=arrays), others, row, query, key)

        scores, pull = jax.vjp(scores_of, query, key, floats.score_arrays)
        weights = jnp.exp(scores - jnp.where(lse == -jnp.inf, 0.0, lse)[..., None])
        _, pull_mean = jax.vjp(lambda a, b: product(a, b, (-1, -2)), weights, value)
        d_weights, d_value = pull_mean(d_output)
        shift = (d_output * output).sum(-1) - d_lse
        d_query, d_key, d_arrays = pull(weights * (d_weights - shift[..., None]))
        keys, values, arrays = carry
        keys, values = _add(keys, row.blocks, d_key), _add(values, row.blocks, d_value)
        return (keys, values, jax.tree.map(jnp.add, arrays, d_arrays)), d_query

    start = jax.tree.map(lambda x: spread_like(jnp.zeros_like(x), cotangents[0]), tuple(floats[1:]))
    given = floats.query, found.output, found.lse, *cotangents
    (keys, values, arrays), d_query = _over_rows(how, others, turn, start, given)
    return _Floats(d_query, keys, values, arrays)


def _over_rows(
    how: _How, others: _Others, turn: Callable[..., Any], carry: Any, given: Any
) -> tuple[Any, Any]:
    """Let each row of the plan take a turn.

    Args:
        how: what is no array.
        others: with the plan, if it is counted.
        turn: of what is carried, the row, and the row's part of the arrays given.
        carry: what is carried at first.
        given: arrays ``(B, H, rows, ...)``.

    Returns:
        What is carried at last, and the turns' results along an axis of rows like that of the arrays given.
    """
    rows = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), given)
    if how.plan is not None:
        carry, found = _known_turns(how.plan, turn, carry, rows)
    else:
        assert others.plan is not None
        carry, found = _counted_turns(others.plan, turn, carry, rows)
    return carry, jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), found)


def _known_turns(plan: _Plan, turn: Callable[..., Any], carry: Any, given: Any) -> tuple[Any, Any]:
    """Take rows in groups of one number of blocks."""
    parts = []
    for start, stop, width in _groups(plan.counts, plan.blocks.shape[-1]):
        here = slice(start, stop)
        lists = (
            plan.order[:, :, here],
            plan.blocks[:, :, here, :width],
            plan.kinds[:, :, here, :width],
        )
        rows = _Row(*(jnp.asarray(np.moveaxis(x, 2, 0)) for x in lists))
        turns = rows, jax.tree.map(lambda x, here=here: x[here], given)
        if stop - start == 1:
            carry, found = turn(carry, *jax.tree.map(lambda x: x[0], turns))
            found = jax.tree.map(lambda x: x[None], found)
        else:
            carry, found = jax.lax.scan(lambda carry, given: turn(carry, *given), carry, turns)
        parts.append(found)
    return carry, jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _groups(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Cut falling counts into groups: where each starts and stops, and for how many blocks it is compiled."""
    step = max(1, -(-int(counts.max()) // GROUPS))
    widths = np.minimum(-(-counts // step) * step, most)
    starts = [0, *(np.nonzero(np.diff(widths))[0] + 1), len(widths)]
    return [(int(a), int(b), int(widths[a])) for a, b in itertools.pairwise(starts)]


def _counted_turns(
    plan: _Plan, turn: Callable[..., Any], carry: Any, given: Any
) -> tuple[Any, Any]:
    """Take rows whose numbers of blocks are known only as the program runs, each by the next power of two."""
    most = plan.blocks.shape[-1]
    powers = [1 << n for n in range(most.bit_length()) if 1 << n < most]
    widths = np.array([0, *powers, most], np.int32)

    def of_width(width: int) -> Callable[..., Any]:
        def run(carry: Any, row: _Row, given: Any) -> Any:
            row = _Row(row.place, row.blocks[..., :width], row.kinds[..., :width])
            return turn(carry, row, given)

        return run

    branches = [of_width(int(width)) for width in widths]

    def one(carry: Any, given: Any) -> Any:
        count, *rest = given
        return jax.lax.switch((count > widths).sum(dtype=jnp.int32), branches, carry, *rest)

    lists = (jnp.moveaxis(x, 2, 0) for x in (plan.order, plan.blocks, plan.kinds))
    return jax.lax.scan(one, carry, (plan.counts, _Row(*lists), given))


# ---- blocks by their numbers


def _flat(blocks: Array) -> Array:
    batch, heads, count, size, features = blocks.shape
    return blocks.reshape(batch, heads, count * size, features)


def _take(array: Array, places: Array) -> Array:
    """Take blocks ``(B, H, n, ...)``: of every example and head its own where places are ``(B, H, n)``."""

    def one(array: Array, places: Array) -> Array:
        return array.at[places].get(mode="promise_in_bounds", unique_indices=True)

    return _mapped(one, places)(array)


def _add(array: Array, places: Array, change: Array) -> Array:
    """Add to blocks what `_take` and `_flat` made of them."""
    change = change.reshape(*array.shape[:2], places.shape[-1], *array.shape[3:])

    def one(array: Array, places: Array, change: Array) -> Array:
        at = array.at[places]
        return at.add(change, mode="promise_in_bounds", unique_indices=True)

    return _mapped(one, places)(array, change)


def _mapped(one: Callable[..., Array], places: Array) -> Callable[..., Array]:
    """Map over examples and heads, of which places may have one for all."""
    alone = tuple(axis for axis in (0, 1) if places.shape[axis] == 1)
    places = places.reshape([n for axis, n in enumerate(places.shape) if axis not in alone])
    for axis in (1, 0):
        along = None if axis in alone else 0
        one = _over_axis(one, along)
    return lambda array, *rest: one(array, places, *rest)


def _over_axis(one: Callable[..., Array], along: int | None) -> Callable[..., Array]:
    def every(array: Array, places: Array, *rest: Array) -> Array:
        return jax.vmap(one, (0, along, *(0 for _ in rest)))(array, places, *rest)

    return every
