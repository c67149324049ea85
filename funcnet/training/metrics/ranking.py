"""How well scores order what is true before what is not: the area under the ROC curve, average precision."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice
from funcnet.training.metrics.base import NAN, Metric, class_reasons
from funcnet.training.metrics.classes import Rows, binary_rows, class_rows, label_rows
from funcnet.training.metrics.kept_scores import (
    Kept,
    check_capacity,
    overflow,
    overflow_reason,
    precision_and_roc,
)
from funcnet.training.metrics.totals import Count

__all__ = ["AveragePrecision", "ROCAUC", "RankedScores"]


@dataclass(frozen=True)
class RankedScores(Metric):
    """A metric of the order of scores, exact in a buffer of ``capacity`` rows or to within ``bins`` of probability.

    Example:
        >>> issubclass(fn.training.metrics.ROCAUC, fn.training.metrics.ranking.RankedScores)
        True
    """

    classes: int | None = None
    average: str = "macro"
    multilabel: bool = False
    capacity: int | None = None
    bins: int | None = None
    from_logits: bool = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_choice("average", self.average, ("macro", "micro", "weighted", "none"))
        if (self.capacity is None) == (self.bins is None):
            raise ValueError(
                f"{name} takes capacity=, the number of rows to keep (exact), or bins=, the number of bins of "
                f"probability (any number of rows); got capacity={self.capacity!r} and bins={self.bins!r}"
            )
        if self.capacity is not None:
            check_capacity(name, self.capacity)
        elif self.bins is not None and self.bins < 2:
            raise ValueError(f"bins must be two or more; got {self.bins}")
        if self.multilabel and self.classes is None:
            raise ValueError(f"{name}(multilabel=True) needs classes=, how many labels there are")
        if self.classes is not None and self.classes < 2 and not self.multilabel:
            raise ValueError(
                f"classes must be two or more, or left out for one score for each target; got {self.classes}"
            )

    @abstractmethod
    def area(self, scores: Array, positive: Array, negative: Array) -> Array:
        """Return the value of one class."""

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        width, refused = self.classes or 1, Count.zeros((3,))
        if self.capacity is not None:
            widths = {"scores": (width, jnp.float32), "true": (width, bool)}
            return {"kept": Kept.empty(self.capacity, **widths), "refused": refused}
        shape = (width, self.bins or 2)
        return {
            "positive": Count.zeros(shape),
            "negative": Count.zeros(shape),
            "refused": refused,
        }

    def _rows(self, outputs: Any, targets: Any, where: Any) -> Rows:
        """Return rows whose scores and targets are ``(N, classes)``, scores as they are ranked."""
        name, logits = type(self).__name__, self.from_logits
        if self.classes is None:
            rows = binary_rows(name, outputs, targets, where, 0.5, logits)
        elif self.multilabel:
            rows = label_rows(name, outputs, targets, where, self.classes, 0.5, logits)
        else:
            rows = class_rows(name, outputs, targets, where, self.classes, not logits)
        scores = rows.floats(name)
        if self.classes is None:
            return rows._replace(scores=scores[:, None], targets=rows.targets[:, None])
        if self.multilabel:
            return rows
        true = rows.targets[:, None] == jnp.arange(self.classes, dtype=jnp.int32)
        if logits:
            scores = jax.nn.softmax(scores, axis=-1) if self.bins else _log_odds(scores)
        return _without_nan(rows._replace(scores=scores, targets=true))

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        rows = self._rows(outputs, targets, where)
        scores = rows.floats(type(self).__name__)
        refused = state["refused"].add(rows.refused)
        if self.capacity is not None:
            kept = state["kept"].add({"scores": scores, "true": rows.targets}, rows.counted)
            return {"kept": kept, "refused": refused}
        counted = rows.counted[:, None]
        sides = {"positive": counted & rows.targets, "negative": counted & ~rows.targets}
        place = self._bin(scores)
        return {
            name: state[name].add(_histogram(place, mask, self.bins or 2))
            for name, mask in sides.items()
        } | {"refused": refused}

    def _bin(self, scores: Array) -> Array:
        bins = self.bins or 2
        if self.from_logits and (self.classes is None or self.multilabel):
            scores = jax.nn.sigmoid(scores)
        return jnp.clip((scores * bins).astype(jnp.int32), 0, bins - 1)

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        numbers = state["refused"].value()
        return jnp.append(numbers, overflow(state["kept"])) if "kept" in state else numbers

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        reasons = class_reasons(self.classes)
        return reasons if self.capacity is None else (*reasons, overflow_reason(self.capacity))

    def value(self, state: PyTree) -> Array:
        """Sort, and add up the area."""
        if "kept" in state:
            rows = state["kept"].rows
            filled = state["kept"].filled()[None]
            scores, true = rows["scores"].T, rows["true"].T
            sides = [(side & filled).astype(jnp.float32) for side in (true, ~true)]
        else:
            sides = [state[name].value() for name in ("positive", "negative")]
            scores = jnp.broadcast_to(
                jnp.arange(sides[0].shape[1], dtype=jnp.float32), sides[0].shape
            )
        if self.average == "micro" or self.classes is None:
            return self.area(scores.ravel(), *(side.ravel() for side in sides))
        each = jax.vmap(self.area)(scores, *sides)
        if self.average == "none":
            return each
        if self.average == "macro":
            return jnp.nanmean(each)
        weight = jnp.where(jnp.isnan(each), 0, sides[0].sum(1))
        return jnp.where(weight > 0, each * weight, 0).sum() / weight.sum()


def _log_odds(logits: Array) -> Array:
    """Return ``log p - log(1 - p)`` of each class: the order of its probability, which is one too soon in float32."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    first = jnp.arange(logits.shape[-1], dtype=best.dtype) == best
    largest = logits.max(-1, keepdims=True)
    shares = jnp.exp(logits - largest)
    # of the others of all but the best class, the best is one, so that the difference is not small
    rest = shares.sum(-1, keepdims=True) - jnp.where(first, 0, shares)
    rest_of_best = jax.nn.logsumexp(logits, axis=-1, keepdims=True, where=~first)
    return logits - jnp.where(first, rest_of_best, largest + jnp.log(rest))


def _histogram(place: Array, mask: Array, bins: int) -> Array:
    """Count marked places ``(N, C)`` in bins: ``(C, bins)``."""
    classes = place.shape[1]
    flat = (jnp.arange(classes, dtype=jnp.int32) * bins + place).ravel()
    counts = jax.ops.segment_sum(mask.ravel().astype(jnp.int32), flat, num_segments=classes * bins)
    return counts.reshape(classes, bins)


def _without_nan(rows: Rows) -> Rows:
    """Refuse rows whose logits were infinite, so that their softmax is not a number."""
    nan = rows.counted & jnp.isnan(jnp.asarray(rows.scores)).any(-1)
    refused = rows.refused.at[NAN].add(nan.sum(dtype=jnp.int32))
    return rows._replace(counted=rows.counted & ~nan, refused=refused)


@dataclass(frozen=True)
class ROCAUC(RankedScores):
    """The area under the ROC curve: how often what is true has a larger score than what is not; equal ones count half.

    Without ``classes``: outputs and targets of one shape, one score for each zero or one. With ``classes``: scores
    ``(..., classes)`` and class indices ``(...)`` or one-hot rows, each class against the rest, by its probability.
    With ``multilabel``: scores ``(..., classes)`` and as many zeros and ones.

    Exact with ``capacity``: scores are kept, and more rows than that raise ``ValueError`` in `compute` (traced:
    ``nan``). With ``bins`` any number of rows is counted, and scores within one bin are taken as equal.

    ``nan`` for a class of which all rows or none are; averages leave it out.

    Args:
        classes: how many classes or labels there are; None: binary.
        average: over the classes: ``"macro"``, their mean; ``"weighted"``, by how often each is true; ``"micro"``,
            of all pairs of a row and a class; ``"none"``, each.
        multilabel: whether a row may have several classes or none.
        capacity: how many rows to keep.
        bins: how many equal bins of probability to count in.
        from_logits: whether scores are logits or probabilities.

    Example:
        >>> metric = fn.training.metrics.ROCAUC(capacity=100, from_logits=False)
        >>> float(metric.measure(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
        0.75

    Reference: ``roc_auc_score`` of scikit-learn; Hanley and McNeil, The Meaning and Use of the Area under a
    Receiver Operating Characteristic Curve, 1982.
    """

    def area(self, scores: Array, positive: Array, negative: Array) -> Array:
        """Return the value of one class."""
        return precision_and_roc(scores, positive, negative)[1]


@dataclass(frozen=True)
class AveragePrecision(RankedScores):
    """The mean precision where recall grows, from the largest score down: ``Σ (R_n - R_{n-1}) P_n``.

    Inputs, arguments and what overflows: as of `ROCAUC`. ``nan`` for a class that no row is (scikit-learn warns and
    gives 0); averages leave it out.

    Example:
        >>> metric = fn.training.metrics.AveragePrecision(capacity=100, from_logits=False)
        >>> round(float(metric.measure(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))), 4)
        0.8333

    Reference: ``average_precision_score`` of scikit-learn.
    """

    def area(self, scores: Array, positive: Array, negative: Array) -> Array:
        """Return the value of one class."""
        return precision_and_roc(scores, positive, negative)[0]
