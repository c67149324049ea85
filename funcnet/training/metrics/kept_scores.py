"""A buffer of rows, for metrics that need all of them at once, and what is worked out of sorted rows."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.training.metrics.totals import AxisName, Count, Total, from_all_devices

__all__ = ["Kept", "overflow", "overflow_reason", "precision_and_roc", "ranks"]

LARGEST = 2**24
"""Rows that a buffer may hold: ranks and counts of them are exact in float32."""


def check_capacity(metric: str, capacity: int) -> None:
    """Raise ``ValueError`` unless a buffer can have so many rows.

    >>> check_capacity("Spearman", 1000)
    """
    if not 0 < capacity <= LARGEST:
        raise ValueError(
            f"{metric} takes a capacity from 1 to {LARGEST}, the most rows of which all ranks are exact in "
            f"float32; got {capacity}"
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kept:
    """Rows of a few arrays, as many as were asked for, and how many there were to keep."""

    rows: dict[str, Array]
    wanted: Count

    @classmethod
    def empty(cls, capacity: int, **widths: Any) -> "Kept":
        """Make room for arrays ``(capacity, width)``, each of a width and a dtype."""
        rows = {
            name: jnp.zeros((capacity, width), dtype) for name, (width, dtype) in widths.items()
        }
        return cls(rows, Count.zeros())

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return next(iter(self.rows.values())).shape[0]

    def overflowed(self) -> Array:
        """Say whether there were more rows than room."""
        return (self.wanted.high > 0) | (self.wanted.low > jnp.uint32(self.capacity))

    def filled(self) -> Array:
        """Say which rows hold something."""
        return (
            jnp.arange(self.capacity, dtype=jnp.int32) < self.wanted.low.astype(jnp.int32)
        ) | self.overflowed()

    def add(self, rows: dict[str, Array], mask: Array) -> "Kept":
        """Keep the rows of a batch that count, behind those that are there."""
        room, number = self.capacity, mask.sum(dtype=jnp.int32)
        begin = jnp.where(self.overflowed(), room, self.wanted.low.astype(jnp.int32))
        place = begin + jnp.cumsum(mask, dtype=jnp.int32) - 1
        # what has no place is written beyond the end, and dropped there
        place = jnp.where(mask, jnp.minimum(place, room), room)
        new = {
            name: kept.at[place].set(rows[name], mode="drop") for name, kept in self.rows.items()
        }
        return Kept(new, self.wanted.add(number))

    def merge(self, other: "Kept") -> "Kept":
        """Keep another's rows too."""
        more = self.add(other.rows, other.filled())
        return Kept(more.rows, self.wanted.merge(other.wanted))

    def reduce(self, axis_name: AxisName) -> "Kept":
        """Keep the rows of all devices of an axis."""
        rows, filled = jax.tree.map(
            lambda leaf: from_all_devices(leaf, axis_name), (self.rows, self.filled())
        )
        flat = {name: value.reshape(-1, value.shape[-1]) for name, value in rows.items()}
        empty = Kept(
            {name: jnp.zeros(value.shape, value.dtype) for name, value in self.rows.items()},
            Count.zeros(),
        )
        return Kept(empty.add(flat, filled.ravel()).rows, self.wanted.reduce(axis_name))


def overflow(kept: Kept) -> Array:
    """Return how many rows were to be kept if they were too many, else 0.

    >>> float(overflow(Kept.empty(2, scores=(1, jnp.float32))))
    0.0
    """
    return jnp.where(kept.overflowed(), kept.wanted.value(), 0)


def overflow_reason(capacity: int) -> str:
    """Say that a buffer was too small, for `Metric.reasons`.

    >>> overflow_reason(2)
    '{} rows were to be kept, and capacity=2 is fewer: give a larger one'
    """
    return f"{{}} rows were to be kept, and capacity={capacity} is fewer: give a larger one"


def _group_bounds(values: Array) -> tuple[Array, Array]:
    """Return the first and the last place of each sorted value's equals."""
    place = jnp.arange(values.shape[0], dtype=jnp.int32)
    new = jnp.concatenate([jnp.ones(1, bool), values[1:] != values[:-1]])
    last = jnp.concatenate([new[1:], jnp.ones(1, bool)])
    first_place = lax.cummax(jnp.where(new, place, 0))
    return first_place, lax.cummin(jnp.where(last, place, place[-1]), reverse=True)


def ranks(values: Array, filled: Array) -> Array:
    """Return the ranks ``1 … n`` of the filled values, equal ones sharing their mean rank; 0 for the others.

    >>> ranks(jnp.array([3.0, 1.0, 3.0, 9.0]), jnp.array([True, True, True, False])).tolist()
    [2.5, 1.0, 2.5, 0.0]
    """
    place = jnp.arange(values.shape[0], dtype=jnp.int32)
    # two zeros are equal whatever their signs; what is not filled comes last
    values = jnp.where(values == 0, 0, values)
    empty, sorted_values, order = lax.sort((~filled, values, place), num_keys=2)
    # a rank is the mean place of a value's equals, none of which are unfilled
    first, last = _group_bounds(jnp.where(empty, jnp.nan, sorted_values))
    shared = (first + last + 2).astype(jnp.float32) / 2
    return jnp.zeros(values.shape, jnp.float32).at[order].set(jnp.where(empty, 0, shared))


def precision_and_roc(scores: Array, positive: Array, negative: Array) -> tuple[Array, Array]:
    """Return the average precision and the area under the ROC curve of weighted scores.

    ``AP = Σ (R_n - R_{n-1}) P_n`` over the distinct scores from the largest; the area is how often a positive's
    score is above a negative's, equal ones counting half. Each is ``nan`` where there is no positive; the area
    also where there is no negative.

    Args:
        scores: ``(N,)``, finite or infinite.
        positive: ``(N,)`` float32, how many positives have each score.
        negative: ``(N,)`` float32, how many negatives.

    Example:
        >>> scores, positive = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0.0, 0.0, 1.0, 1.0])
        >>> precision, area = precision_and_roc(scores, positive, 1 - positive)
        >>> round(float(precision), 4), float(area)
        (0.8333, 0.75)
    """
    scores = jnp.where(scores == 0, 0, scores)
    scores, positive, negative = lax.sort((scores, positive, negative), num_keys=1)
    first, last = _group_bounds(scores)
    upto = jnp.stack([jnp.cumsum(positive), jnp.cumsum(negative)])
    before = jnp.pad(upto, ((0, 0), (1, 0)))[:, :-1]
    total = upto[:, -1]
    share = positive / total[0]
    from_here = total[:, None] - before[:, first]
    precision = jnp.where(positive > 0, from_here[0] / from_here.sum(0), 0)
    below = (before[1, first] + upto[1, last]) / (2 * total[1])
    return tuple(Total.of(share * part, (0,)).value() for part in (precision, below))  # pyright: ignore[reportReturnType]
