"""Which numbers go: those of the lowest scores, as many as an amount says; PyTorch's rounding."""

import math
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import at_least_float32
from funcnet.core.leaf_kinds import check_holds_arrays, is_trainable
from funcnet.core.paths import leaves_with_paths, select
from funcnet.functional.explicit_meshes import let_xla_place_each
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional
from funcnet.module.module import Module
from funcnet.module.rewriting.parts import description_of
from funcnet.optim.masks import masks_like

__all__ = ["Amount", "Chosen", "chosen_arrays", "how_many", "keep_highest", "rank_masks"]

Amount = float | int | Array
"""How much to mask: a fraction (a float from 0 to 1) or a count (an integer)."""


def how_many(amount: Amount, size: Any) -> Any:
    """Return the count that an amount means: a fraction is rounded half to even, as Python rounds.

    Args:
        amount: a fraction from 0.0 to 1.0, or a whole number; also an array of either, traced or not.
        size: of what there is, perhaps traced.

    Raises:
        ValueError: out of range.
        TypeError: no number.

    >>> how_many(0.5, 5), how_many(3, 5), how_many(1, 5), how_many(1.0, 5)
    (2, 3, 1, 5)
    """
    if isinstance(amount, Tracer) or not isinstance(size, int):
        return _how_many_traced(amount, size)
    if isinstance(amount, jax.Array) and not amount.ndim:
        # known, also inside of jit, where JAX would trace the questions below
        amount = amount.item()
    if isinstance(amount, str | bool) or not hasattr(amount, "__float__") or np.ndim(amount):
        raise TypeError(
            f"amount must be a fraction such as 0.5, or a count such as 10; got {amount!r}"
        )
    if jnp.issubdtype(jnp.result_type(amount), np.integer):
        if not 0 <= amount <= size:
            raise ValueError(
                f"amount={amount} is a count, and there are {size} to choose from; a fraction is a float: 1.0 is all"
            )
        return int(amount)
    if not 0 <= amount <= 1:
        raise ValueError(
            f"amount={float(amount)} is a fraction, which must lie in [0, 1]; a count is a whole number: write "
            f"{math.ceil(abs(float(amount)))} without a point"
        )
    return round(float(amount) * size)


def _how_many_traced(amount: Any, size: Any) -> Array:
    if not isinstance(amount, Tracer):
        how_many(amount, np.iinfo(np.int32).max)  # raises for what is out of any range
    amount = jnp.asarray(amount, jnp.result_type(amount))
    if jnp.issubdtype(amount.dtype, jnp.integer):
        return jnp.clip(amount, 0, size)
    wide = at_least_float32(amount.dtype)
    part = jnp.clip(amount.astype(wide), 0, 1) * jnp.asarray(size, wide)
    return jnp.round(part).astype(jnp.int32)


def keep_highest(scores: Array, drop: Any, earlier: Array | None = None) -> Array:
    """Return a mask that is false for the ``drop`` lowest of a row of scores; of equal ones the first go first.

    Args:
        scores: one axis, none below zero. What is not a number counts as high.
        drop: an amount, of what is left.
        earlier: a mask; what it masked stays masked, and is not counted.

    >>> keep_highest(jnp.array([3.0, 1.0, 2.0]), 2).tolist()
    [True, False, False]
    """
    gone: Any = 0
    left: Any = scores.size
    if earlier is not None:
        scores = jnp.where(earlier, scores, -1)
        kept = jnp.count_nonzero(earlier)
        left = kept if isinstance(kept, Tracer) else int(kept)
        gone = scores.size - left
    return _without_first(scores, gone + how_many(drop, left))


@jax.jit
def _without_first(scores: Array, count: Array) -> Array:
    """Return a mask that is false for some of the lowest; compiled once for all counts."""
    order = jnp.argsort(scores, stable=True)
    return jnp.zeros(scores.shape, bool).at[order].set(jnp.arange(scores.size) >= count)


class Chosen(NamedTuple):
    """An array to prune, and over how many leading axes it is a stack of layers."""

    values: Any
    stacked: int


def chosen_arrays(
    params: PyTree, patterns: str | Iterable[str] | None, module: Module | Functional | None
) -> dict[str, Chosen]:
    """Return the arrays to prune by their dotted paths.

    Args:
        params: any tree of arrays.
        patterns: globs on dotted paths; None for all arrays with two axes or more.
        module: the model, for which stacks of layers are seen.

    Raises:
        ValueError: a pattern matches no array, or there is none to prune.
    """
    check_holds_arrays("pruning", params)
    stacks = _stacks(module)
    found = {
        path: Chosen(leaf, stacks.get(path, 0))
        for path, leaf in leaves_with_paths(params)
        if is_trainable(leaf)
    }
    if patterns is not None:
        names = select(patterns, found)
        return {path: one for path, one in found.items() if path in names}
    wide = {path: one for path, one in found.items() if jnp.ndim(one.values) - one.stacked >= 2}
    if not wide:
        there = ", ".join(path or "''" for path in list(found)[:12]) or "none"
        raise ValueError(
            "by default arrays with two axes or more are pruned, and there is none; name others by patterns, such as "
            f'patterns="*"; there are: {there}'
        )
    return wide


def _stacks(module: Module | Functional | None) -> Mapping[str, int]:
    if module is None:
        return {}
    return {path: len(sizes) for path, sizes in layout_of(description_of(module)).sizes.items()}


def rank_masks(
    params: PyTree,
    scores: Mapping[str, Array],
    amount: Amount,
    scope: str,
    stacked: Mapping[str, int],
    masks: PyTree,
) -> PyTree:
    """Return masks like params, false where scores are lowest: of all arrays together, or of each."""
    check_choice("scope", scope, ("global", "layer"))
    earlier = _by_path(params, masks)
    traced = amount if isinstance(amount, Tracer) else None

    def rank(
        scores: Mapping[str, Array], earlier: Mapping[str, Array], traced: Any
    ) -> dict[str, Array]:
        how_much = amount if traced is None else traced
        if scope == "global":
            return _ranked_together(scores, how_much, earlier)
        return {
            path: _ranked_alone(one, how_much, stacked[path], earlier.get(path))
            for path, one in scores.items()
        }

    return masks_like(params, earlier | let_xla_place_each(rank, scores, earlier, traced))


def _by_path(params: PyTree, masks: PyTree) -> dict[str, Array]:
    return {} if masks is None else dict(leaves_with_paths(masks_like(params, masks)))


def _ranked_alone(scores: Array, amount: Amount, stacked: int, earlier: Array | None) -> Array:
    """Rank one array, or each layer of a stack."""
    rows = scores.reshape(math.prod(scores.shape[:stacked]), math.prod(scores.shape[stacked:]))
    if earlier is None:
        mask = jax.vmap(lambda row: keep_highest(row, amount))(rows)
    elif stacked:
        before = earlier.reshape(rows.shape)
        mask = jax.vmap(lambda row, kept: keep_highest(row, amount, kept))(rows, before)
    else:
        mask = keep_highest(rows[0], amount, earlier.reshape(rows.shape[1]))
    return mask.reshape(scores.shape)


def _ranked_together(
    scores: Mapping[str, Array], amount: Amount, earlier: Mapping[str, Array]
) -> dict[str, Array]:
    dtype = reduce(jnp.promote_types, (at_least_float32(one.dtype) for one in scores.values()))
    joined = jnp.concatenate([one.ravel().astype(dtype) for one in scores.values()])
    before = None
    if any(path in earlier for path in scores):
        whole = [earlier.get(path, jnp.ones(one.shape, bool)) for path, one in scores.items()]
        before = jnp.concatenate([one.ravel() for one in whole])
    mask = keep_highest(joined, amount, before)
    ends = np.cumsum([one.size for one in scores.values()])[:-1]
    parts = jnp.split(mask, [int(end) for end in ends])
    return {
        path: part.reshape(one.shape)
        for (path, one), part in zip(scores.items(), parts, strict=True)
    }
