"""The formula of attention whose scores a function changes, with all scores in memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.attention.block_mask import BlockMask
from funcnet.functional.attention.plain import product
from funcnet.functional.attention.positions import Positions, over_positions

__all__ = ["FlexOutput", "FlexSettings", "attend_to", "changed_scores", "flex_plain"]


class FlexSettings(NamedTuple):
    """What all forms are told besides query, key and value."""

    score: Callable[..., Array] | None
    """Of its arrays, a score and positions."""
    score_arrays: Sequence[Any]
    mask: Callable[..., Array]
    """Of its arrays and positions."""
    mask_arrays: Sequence[Any]
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
        key: ``(1 or B, H, S, E)``.
        value: ``(1 or B, H, S, Ev)``.
        block_mask: of these lengths.
    """
    dtype, wide = value.dtype, at_least_float32(value.dtype)
    sizes = *query.shape[:2], query.shape[2], key.shape[2]
    batch, heads, rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in sizes)
    at = Positions(batch, heads, rows[None, None], columns[None, None])
    allowed = None if block_mask is None else _allowed(settings, block_mask, at)
    scores = changed_scores(settings, query.astype(wide) * settings.scale, key.astype(wide), at, allowed)
    output, *rest = attend_to(scores, value.astype(wide))
    return FlexOutput(output.astype(dtype), *rest)


def _allowed(settings: FlexSettings, block_mask: BlockMask, at: Positions) -> Array:
    mask = functools.partial(settings.mask, settings.mask_arrays)
    kinds = [jnp.asarray(x) for x in block_mask.block_kinds()]
    for axis, places in ((-2, at.query), (-1, at.key)):
        kinds = [jnp.repeat(x, block_mask.BLOCK_SIZE[axis], axis) for x in kinds]
        kinds = [jax.lax.slice_in_dim(x, 0, places.shape[-1], axis=axis) for x in kinds]
    partial, full = kinds
    return over_positions(mask, at) & partial | full


def changed_scores(
    settings: FlexSettings, query: Array, key: Array, at: Positions, allowed: Array | None
) -> Array:
    """Return scores ``(B, H, L, S)`` of scaled queries, changed, and at minus infinity where they take no part."""
    scores = product(query, key, (-1, -1))
    if settings.score is not None:
        score = functools.partial(settings.score, settings.score_arrays)
        function = lambda one, *places: score(one, *places)  # noqa: E731
        scores = over_positions(function, at, scores).astype(scores.dtype)
    return scores if allowed is None else jnp.where(allowed, scores, -jnp.inf)


def attend_to(scores: Array, value: Array) -> tuple[Array, Array, Array]:
    """Return the mean of values, the logarithm of the sum of the scores' exponentials, and the largest score.

    Queries that may attend to nothing yield zeros, and minus infinity.
    """
    least = float(jnp.finfo(scores.dtype).min)  # finite, so that no row subtracts -inf from -inf
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True, initial=least))
    weights = jnp.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    empty = total == 0
    total = jnp.where(empty, 1.0, total)
    output = product(weights, value, (-1, -2)) / total
    lse, largest = (
        jnp.where(empty, -jnp.inf, x)[..., 0] for x in (largest + jnp.log(total), largest)
    )
    return output, lse, largest
