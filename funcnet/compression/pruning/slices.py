"""Whole slices of arrays that go together: scores of slices, and masks of the lowest."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.compression.pruning.ranking import Amount, Chosen, keep_highest
from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32
from funcnet.core.paths import leaves_with_paths
from funcnet.functional.explicit_meshes import let_xla_place_each
from funcnet.optim.masks import masked, masks_like

__all__ = ["norms_of_rows", "slice_masks"]


def norms_of_rows(rows: Array, norm: float) -> Array:
    """Return the norm of each row, along the last axis; in 32 bits at least.

    Args:
        rows: any leading axes.
        norm: 1, 2 or any other number; infinity for the largest value, minus infinity for the smallest, 0 for the
            count of what is not zero.

    >>> norms_of_rows(jnp.array([[3.0, -4.0], [0.0, 1.0]]), 2).tolist()
    [5.0, 1.0]
    """
    size = jnp.abs(rows)
    size = size.astype(at_least_float32(size.dtype))
    if math.isinf(norm):
        return size.max(-1, initial=0) if norm > 0 else size.min(-1, initial=math.inf)
    if norm == 0:
        return jnp.count_nonzero(size, axis=-1).astype(size.dtype)
    return (size**norm).sum(-1) ** (1 / norm)


def slice_masks(
    params: PyTree,
    axes: Mapping[str, int],
    chosen: Mapping[str, Chosen],
    amount: Amount,
    masks: PyTree,
    score: Callable[[str, Array], Array],
) -> PyTree:
    """Return masks like params of which whole slices are false, those of the lowest scores.

    Args:
        params: the arrays.
        axes: along which axis each array is cut, not counting those of stacks.
        chosen: the arrays.
        amount: a fraction or count of each array's slices.
        masks: earlier ones, or None.
        score: ``(path, (*stack, slices, rest)) -> (*stack, slices)``, none below zero.
    """
    before: dict[str, Any] = {}
    if masks is not None:
        before = dict(leaves_with_paths(masks_like(params, masks)))

    def rank(values: Mapping[str, Array], before: Mapping[str, Array]) -> dict[str, Array]:
        return {
            path: _one(
                path, Chosen(one, chosen[path].stacked), axes[path], amount, before.get(path), score
            )
            for path, one in values.items()
        }

    values = {path: jnp.asarray(one.values) for path, one in chosen.items()}
    return masks_like(params, before | let_xla_place_each(rank, values, before))


def _one(
    path: str,
    one: Chosen,
    axis: int,
    amount: Amount,
    earlier: Array | None,
    score: Callable[[str, Array], Array],
) -> Array:
    values = jnp.asarray(one.values)
    place = _place(path, values.ndim, one.stacked, axis)
    if earlier is not None:
        values = masked(values, earlier)
    rows = _rows(values, one.stacked, place)
    left = None if earlier is None else _rows(earlier, one.stacked, place).any(-1)
    kept = _kept(score(path, rows), amount, left)
    wide = jnp.broadcast_to(kept[..., None], rows.shape)
    mask = jnp.moveaxis(
        wide.reshape(jnp.moveaxis(values, place, one.stacked).shape), one.stacked, place
    )
    return mask if earlier is None else mask & earlier


def _place(path: str, ndim: int, stacked: int, axis: int) -> int:
    own = ndim - stacked
    if not -own <= axis < own:
        raise ValueError(
            f"{path or 'the array'} has {own} axes{' in each layer' * bool(stacked)}; there is no axis {axis} to cut "
            "slices along"
        )
    return stacked + axis % own


def _rows(array: Array, stacked: int, place: int) -> Array:
    """Bring an array to ``(*stack, slices, rest)``."""
    front = jnp.moveaxis(array, place, stacked)
    shape = front.shape
    return front.reshape(*shape[: stacked + 1], math.prod(shape[stacked + 1 :]))


def _kept(scores: Array, amount: Amount, left: Array | None) -> Array:
    """Say which slices are kept, in each layer of a stack."""
    if scores.ndim == 1:
        return keep_highest(scores, amount, left)
    rows = scores.reshape(math.prod(scores.shape[:-1]), scores.shape[-1])
    if left is None:
        kept = jax.vmap(lambda row: keep_highest(row, amount))(rows)
    else:
        kept = jax.vmap(lambda row, own: keep_highest(row, amount, own))(
            rows, left.reshape(rows.shape)
        )
    return kept.reshape(scores.shape)
