"""Precision, recall and their mean F-beta, of classes, of one class, of labels."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_non_negative, check_probability
from funcnet.training.metrics.base import Metric, class_reasons
from funcnet.training.metrics.classes import (
    Rows,
    binary_rows,
    class_rows,
    count_classes,
    label_rows,
)
from funcnet.training.metrics.totals import Count

__all__ = ["ClassCounts", "FBeta", "Precision", "Recall"]


@dataclass(frozen=True)
class ClassCounts(Metric):
    """A metric of three counts for each class: predicted and true, predicted, true.

    Three kinds of task: without ``classes``, one output for each target, zero or one (binary: the value is that of
    the ones); with ``classes``, scores ``(..., C)`` and class indices or one-hot rows, or predicted classes as
    integers; with ``multilabel`` scores ``(..., C)`` and as many zeros and ones.

    Example:
        >>> issubclass(fn.training.metrics.Recall, fn.training.metrics.f_beta.ClassCounts)
        True
    """

    classes: int | None = None
    average: str = "macro"
    multilabel: bool = False
    threshold: float = 0.5
    from_logits: bool = True
    zero_division: float | None = 0.0

    def __post_init__(self) -> None:
        check_choice("average", self.average, ("macro", "micro", "weighted", "none"))
        check_probability("threshold", self.threshold)
        if self.multilabel and self.classes is None:
            raise ValueError(
                f"{type(self).__name__}(multilabel=True) needs classes=, how many labels there are"
            )
        if self.classes is not None and self.classes < 2 and not self.multilabel:
            raise ValueError(
                f"classes must be two or more, or left out for one output for each target; got {self.classes}"
            )

    @abstractmethod
    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        counts = {name: Count.zeros((self.classes or 1,)) for name in ("both", "predicted", "true")}
        return counts | {"rows": Count.zeros(), "refused": Count.zeros((3,))}

    def _rows(self, outputs: Any, targets: Any, where: Any) -> Rows:
        name, cut = type(self).__name__, (self.threshold, self.from_logits)
        if self.classes is None:
            return binary_rows(name, outputs, targets, where, *cut)
        if self.multilabel:
            return label_rows(name, outputs, targets, where, self.classes, *cut)
        return class_rows(name, outputs, targets, where, self.classes)

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        rows = self._rows(outputs, targets, where)
        if rows.predicted.dtype == bool:
            kept = rows.counted[:, None]
            found, wanted = (
                part.reshape(-1, self.classes or 1) & kept
                for part in (rows.predicted, rows.targets)
            )
            counts = [part.sum(0, dtype=jnp.int32) for part in (found & wanted, found, wanted)]
        else:
            right = rows.counted & (rows.predicted == rows.targets)
            pairs = (
                (rows.targets, right), (rows.predicted, rows.counted), (rows.targets, rows.counted)
            )  # fmt: skip
            counts = [count_classes(index, mask, self.classes or 1) for index, mask in pairs]
        counted = rows.counted.sum(dtype=jnp.int32)
        new = {"both": counts[0], "predicted": counts[1], "true": counts[2], "rows": counted}
        return {
            name: state[name].add(part) for name, part in {**new, "refused": rows.refused}.items()
        }

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        return state["refused"].value()

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return class_reasons(self.classes)

    def value(self, state: PyTree) -> Array:
        """Divide, and average over the classes."""
        both, predicted, true = (state[name].value() for name in ("both", "predicted", "true"))
        if self.average == "micro":
            both, predicted, true = both.sum()[None], predicted.sum()[None], true.sum()[None]
        above, below = self.ratio(both, predicted, true)
        nothing = jnp.nan if self.zero_division is None else self.zero_division
        # a class that occurs neither in the targets nor in the predictions is not one of those to average
        there = (predicted + true > 0) | (self.multilabel or self.classes is None)
        there = there & (state["rows"].value() > 0)
        each = jnp.where(below > 0, above / jnp.maximum(below, 1e-30), nothing)
        each = jnp.where(there, each, jnp.nan)
        if self.average == "none" and self.classes is not None:
            return each
        if self.average != "weighted":
            return jnp.nanmean(each)
        weight = jnp.where(jnp.isnan(each), 0, true)
        mean = jnp.where(weight > 0, each * weight, 0).sum() / weight.sum()
        return jnp.where(weight.sum() > 0, mean, jnp.nanmean(each))


@dataclass(frozen=True)
class Precision(ClassCounts):
    """The share of what was predicted that is true: ``tp / (tp + fp)``.

    Without ``classes``: outputs and targets of one shape, one score for each zero or one. With ``classes``: scores
    ``(..., classes)`` and class indices ``(...)`` or one-hot rows; or predicted classes, integers of the targets'
    shape. With ``multilabel``: scores ``(..., classes)`` and as many zeros and ones.

    ``nan`` before anything was counted, after outputs with NaN, and for a class of ``average="none"`` that was neither
    predicted nor true. Averages leave such a class out, except of labels, as scikit-learn does.

    Args:
        classes: how many classes or labels there are; None: binary.
        average: over the classes: ``"macro"``, their mean; ``"weighted"``, by how often each is true; ``"micro"``, of
            all counts together; ``"none"``, each.
        multilabel: whether a row may have several classes or none.
        threshold: of a binary or label's score: the probability above which it is predicted.
        from_logits: whether such scores are logits or probabilities.
        zero_division: the value where the denominator is zero; None: ``nan``, which averages leave out.

    Example:
        >>> metric = fn.training.metrics.Precision()
        >>> float(metric.measure(jnp.array([2.0, 1.0, -1.0]), jnp.array([1, 0, 1])))
        0.5

    Reference: ``precision_score`` of scikit-learn.
    """

    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""
        return both, predicted


@dataclass(frozen=True)
class Recall(ClassCounts):
    """The share of what is true that was predicted: ``tp / (tp + fn)``.

    Arguments, inputs and what is ``nan``: as of `Precision`.

    Example:
        >>> metric = fn.training.metrics.Recall(classes=3, average="none")
        >>> metric.measure(jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2])).tolist()
        [0.5, 1.0, 1.0]

    Reference: ``recall_score`` of scikit-learn.
    """

    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""
        return both, true


@dataclass(frozen=True)
class FBeta(ClassCounts):
    """The harmonic mean of precision and recall, which weighs beta²: ``(1 + β²) tp / ((1 + β²) tp + fp + β² fn)``.

    Inputs, what is ``nan`` and the other arguments: as of `Precision`.

    Args:
        beta: how many times as important recall is; 1 for the F1 score.

    Example:
        >>> metric = fn.training.metrics.FBeta(classes=3, beta=1.0, average="macro")
        >>> round(float(metric.measure(jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2]))), 4)
        0.7778

    Reference: ``fbeta_score`` of scikit-learn; van Rijsbergen, Information Retrieval, 1979.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_non_negative("beta", self.beta)

    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""
        square = self.beta**2
        return (1 + square) * both, predicted + square * true
