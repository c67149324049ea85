"""Packed sequences: what lies in one row of an array, one sequence after another.

Segment ids ``(*, L)`` number the sequences of a row from 1, each one run of equal numbers; 0 is padding. That is what
`data.pack` yields. Their number and lengths are values, not shapes: one program serves all of them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_positive
from funcnet.core.dtypes import as_floats, at_least_float32
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_integers, known_values
from funcnet.functional.sequences.masks import segment_array

__all__ = [
    "next_token_targets",
    "segment_lengths",
    "segment_mean",
    "segment_positions",
    "segment_sum",
    "segment_take",
]


def segment_positions(segment_ids: ArrayLike) -> Array:
    """Count the positions within each segment, from 0; padding has 0 throughout.

    Args:
        segment_ids: integers of shape ``(*, L)``.

    Returns:
        int32 of shape ``(*, L)``.

    Raises:
        ValueError: known segment ids with one number in two places of a row.
        TypeError: segment ids that are no integers.

    Example:
        >>> F.segment_positions(jnp.array([1, 1, 1, 2, 2, 0, 0])).tolist()
        [0, 1, 2, 0, 1, 0, 0]
    """
    check_runs(segment_ids)
    ids = segment_array("segment_ids", segment_ids)
    places = jax.lax.broadcasted_iota(jnp.int32, ids.shape, ids.ndim - 1)
    starts = jnp.where(_differs_from_last(ids), places, 0)
    first = jax.lax.cummax(starts, axis=ids.ndim - 1)
    return jnp.where(ids == 0, 0, places - first)


def _differs_from_last(ids: Array) -> Array:
    def differs(ids: Array) -> Array:
        same = ids[..., 1:] != ids[..., :-1]
        return jnp.concatenate([jnp.ones_like(ids[..., :1], bool), same], -1)

    return let_xla_place(differs, ids, kept=ids.ndim - 1)


def segment_lengths(segment_ids: ArrayLike, num_segments: int) -> Array:
    """Count the positions of each segment.

    Args:
        segment_ids: integers of shape ``(*, L)``.
        num_segments: how many a row may have: the largest number. The result has one shape for all.

    Returns:
        int32 of shape ``(*, num_segments)``: 0 for segments that a row does not have.

    Raises:
        ValueError: known numbers outside of 0 to ``num_segments``. Of traced ones those outside are not counted.
        TypeError: segment ids that are no integers.

    Example:
        >>> F.segment_lengths(jnp.array([1, 1, 1, 2, 2, 0, 0]), 3).tolist()
        [3, 2, 0]
    """
    ids = _numbered(segment_ids, num_segments)
    return _per_segment(jax.ops.segment_sum, jnp.ones(ids.shape, jnp.int32), ids, num_segments)


def segment_sum(values: Array, segment_ids: ArrayLike, num_segments: int) -> Array:
    """Add up the values of each segment: ``output[s] = Σ_{t∈s} x_t``; padding counts in none, whatever it holds.

    Args:
        values: floats of shape ``(*, L, **)``, such as losses ``(N, L)`` or features ``(N, L, E)``.
        segment_ids: integers of shape ``(*, L)``.
        num_segments: how many a row may have: the largest number. The result has one shape for all.

    Returns:
        An array of shape ``(*, num_segments, **)`` in the dtype of the values, summed in 32 bits at least: 0 for
        segments that a row does not have.

    Raises:
        ValueError: shapes that do not fit, or known numbers outside of 0 to ``num_segments``. A row that has such
            numbers when they are traced is NaN.
        TypeError: values that are no floats, or segment ids that are no integers.

    Example:
        >>> F.segment_sum(jnp.array([1.0, 2.0, 5.0, 9.0]), jnp.array([1, 1, 2, 0]), 2).tolist()
        [3.0, 5.0]

    Reference: ``jax.ops.segment_sum``, of rows.
    """
    (values,) = as_floats("segment_sum", values=values)
    ids = _fitting(values, segment_ids, num_segments)
    return _summed(values, ids, num_segments).astype(values.dtype)


def segment_mean(values: Array, segment_ids: ArrayLike, num_segments: int) -> Array:
    """Average the values of each segment; padding counts in none, whatever it holds.

    ``output[s] = Σ_{t∈s} x_t / |s|``, where ``|s|`` is the segment's length.

    The mean over a batch of each sequence's own mean is ``means.sum() / (F.segment_lengths(...) > 0).sum()``; that over
    all tokens is a loss's with ``where=segment_ids > 0``.

    Args:
        values: floats of shape ``(*, L, **)``, such as losses ``(N, L)`` or features ``(N, L, E)``.
        segment_ids: integers of shape ``(*, L)``.
        num_segments: how many a row may have: the largest number. The result has one shape for all.

    Returns:
        An array of shape ``(*, num_segments, **)`` in the dtype of the values: 0 for segments that a row does not
        have.

    Raises:
        ValueError: shapes that do not fit, or known numbers outside of 0 to ``num_segments``. A row that has such
            numbers when they are traced is NaN.
        TypeError: values that are no floats, or segment ids that are no integers.

    Example:
        >>> F.segment_mean(jnp.array([1.0, 2.0, 5.0, 9.0]), jnp.array([1, 1, 2, 0]), 3).tolist()
        [1.5, 5.0, 0.0]
    """
    (values,) = as_floats("segment_mean", values=values)
    ids = _fitting(values, segment_ids, num_segments)
    total = _summed(values, ids, num_segments)
    counts = _per_segment(jax.ops.segment_sum, jnp.ones(ids.shape, jnp.int32), ids, num_segments)
    counts = jnp.maximum(counts, 1).astype(total.dtype)
    return (total / _with_axes_of(counts, total)).astype(values.dtype)


def segment_take(
    values: Array, segment_ids: ArrayLike, num_segments: int, position: int = -1
) -> Array:
    """Take what lies at one position of each segment, such as its first or its last.

    The last output of a recurrent layer is the segment's final hidden state; at position 0 lies the token that stands
    for a whole sentence in BERT.

    Args:
        values: of shape ``(*, L, **)``.
        segment_ids: integers of shape ``(*, L)``.
        num_segments: how many a row may have: the largest number. The result has one shape for all.
        position: in the segment, from 0; from its end if negative.

    Returns:
        An array of shape ``(*, num_segments, **)``: 0 for segments that a row does not have, or that are too short.

    Raises:
        ValueError: shapes that do not fit, or known numbers outside of 0 to ``num_segments``.
        TypeError: segment ids that are no integers.

    Example:
        >>> x = jnp.array([10, 11, 12, 20, 21, 0])
        >>> F.segment_take(x, jnp.array([1, 1, 1, 2, 2, 0]), 3).tolist()
        [12, 21, 0]
    """
    values = jnp.asarray(values)
    ids = _fitting(values, segment_ids, num_segments)
    places = jax.lax.broadcasted_iota(jnp.int32, ids.shape, ids.ndim - 1)
    last = _per_segment(jax.ops.segment_max, places, ids, num_segments)
    lengths = _per_segment(jax.ops.segment_sum, jnp.ones_like(places), ids, num_segments)
    index = last + 1 + position if position < 0 else last - lengths + 1 + position
    found = lengths >= (-position if position < 0 else position + 1)
    index, found = (_with_axes_of(array, values) for array in (jnp.where(found, index, 0), found))

    def take(values: Array, index: Array) -> Array:
        return jnp.take_along_axis(values, index, ids.ndim - 1)

    taken = let_xla_place(take, values, index, kept=ids.ndim - 1)
    return jnp.where(found, taken, jnp.zeros((), values.dtype))


def next_token_targets(
    tokens: ArrayLike, segment_ids: ArrayLike | None = None, *, ignore_index: int = -100
) -> Array:
    """Give each token the one after it as its target: none at the end of a segment, and none for padding.

    Args:
        tokens: integers of shape ``(*, L)``.
        segment_ids: integers of the same shape; one segment a row if left out.
        ignore_index: target of a token that has none, which `cross_entropy` leaves out.

    Returns:
        Integers of shape ``(*, L)``.

    Raises:
        ValueError: shapes that differ.
        TypeError: tokens or segment ids that are no integers.

    Example:
        >>> F.next_token_targets(jnp.array([5, 6, 7, 8, 0]), jnp.array([1, 1, 2, 2, 0])).tolist()
        [6, -100, 8, -100, -100]
    """
    tokens = segment_array("tokens", tokens)
    if not jnp.issubdtype(tokens.dtype, jnp.signedinteger):
        tokens = tokens.astype(jnp.int32)  # so that it holds ignore_index
    targets = _shifted(tokens, ignore_index)
    if segment_ids is None:
        return targets
    ids = segment_array("segment_ids", segment_ids)
    if ids.shape != tokens.shape:
        raise ValueError(
            f"tokens and segment_ids must have one shape; got {tokens.shape} and {ids.shape}"
        )
    return jnp.where((ids == _shifted(ids, 0)) & (ids != 0), targets, ignore_index)


def _shifted(array: Array, last: int) -> Array:
    """Move all but the first to one position earlier, and put a number in the last one."""

    def shift(array: Array) -> Array:
        return jnp.concatenate([array[..., 1:], jnp.full_like(array[..., :1], last)], -1)

    return let_xla_place(shift, array, kept=array.ndim - 1)


def segment_runs(ids: Array) -> Array:
    """Count the segments of each row from 1 on, to L at most, whatever numbers they have.

    >>> from funcnet.functional.sequences.segments import segment_runs
    >>> segment_runs(jnp.array([0, 70, 70, 3, 0, 9])).tolist()
    [0, 1, 1, 2, 0, 3]
    """
    real = ids != 0
    starts = (real & _differs_from_last(ids)).astype(jnp.int32)
    return jnp.where(real, jnp.cumsum(starts, -1), 0)


def segment_starts(ids: Array, *, reverse: bool = False) -> Array:
    """Say where a segment begins that is not the first of its row, read from the left or from the right.

    Args:
        ids: ``(*, L)``.
        reverse: read from the right, so that a segment's last position is its beginning.

    >>> from funcnet.functional.sequences.segments import segment_starts
    >>> segment_starts(jnp.array([0, 1, 1, 2, 2, 0])).astype(int).tolist()
    [0, 0, 0, 1, 0, 0]
    """
    ids = ids[..., ::-1] if reverse else ids
    real = ids != 0
    earlier = jax.lax.cummax(real.astype(jnp.int32), axis=ids.ndim - 1)
    earlier = jnp.concatenate([jnp.zeros_like(earlier[..., :1]), earlier[..., :-1]], -1)
    starts = real & _differs_from_last(ids) & (earlier > 0)
    return starts[..., ::-1] if reverse else starts


def check_runs(segment_ids: ArrayLike) -> None:
    """Raise ``ValueError`` if known segment ids have one number in two places of a row.

    >>> from funcnet.functional.sequences.segments import check_runs
    >>> check_runs([1, 1, 2, 0])
    """
    known = known_values(segment_ids)
    if known is None or known.ndim == 0:
        return
    for row in known.reshape(-1, known.shape[-1]):
        begins = row[np.flatnonzero(np.diff(row, prepend=0))]
        begins = begins[begins != 0]
        if len(np.unique(begins)) < len(begins):
            raise ValueError(
                f"a segment must be one run of equal numbers, each segment of a row another number; got {row.tolist()}"
            )


def _numbered(segment_ids: ArrayLike, num_segments: int) -> Array:
    """Return segment ids as an array, with those that are known checked against their number."""
    check_positive("num_segments", num_segments)
    known = known_values(segment_ids)
    if known is not None:
        check_integers("segment_ids", known)  # pyright: ignore[reportArgumentType]
        if known.size and (known.min() < 0 or known.max() > num_segments):
            raise ValueError(
                f"segment ids must lie in [0, {num_segments}], the number of segments; got values from "
                f"{known.min()} to {known.max()}"
            )
    return segment_array("segment_ids", segment_ids)


def _fitting(values: Array, segment_ids: ArrayLike, num_segments: int) -> Array:
    ids = _numbered(segment_ids, num_segments)
    if values.shape[: ids.ndim] != ids.shape:
        raise ValueError(
            f"values must begin with the axes of segment_ids, {ids.shape}; got shape {values.shape}"
        )
    return ids


def _summed(values: Array, ids: Array, num_segments: int) -> Array:
    wide = values.astype(at_least_float32(values.dtype))
    total = _per_segment(jax.ops.segment_sum, wide, ids, num_segments)
    fits = ((ids >= 0) & (ids <= num_segments)).all(-1, keepdims=True)
    return jnp.where(_with_axes_of(fits, total), total, jnp.nan)


def _per_segment(reduce: Any, values: Array, ids: Array, num_segments: int) -> Array:
    """Reduce the values of each segment of each row; padding is one more segment, left out again."""

    def of_row(values: Array, ids: Array) -> Array:
        return reduce(values, ids, num_segments + 1)[1:]

    function = of_row
    for _ in range(ids.ndim - 1):
        function = jax.vmap(function)
    return let_xla_place(function, values, ids, kept=ids.ndim - 1)


def _with_axes_of(array: Array, other: Array) -> Array:
    return array.reshape(*array.shape, *(1,) * (other.ndim - array.ndim))
