"""The share of right predictions: the first, among the k best, of each class, balanced."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive, check_probability
from funcnet.training.metrics.base import Metric, class_reasons
from funcnet.training.metrics.classes import Rows, as_arrays, binary_rows, class_rows, count_classes
from funcnet.training.metrics.totals import Count

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of rows whose prediction is the target.

    Outputs are scores ``(..., C)``, logits or probabilities, with class indices ``(...)`` or one-hot rows
    ``(..., C)``; or one score for each target ``(N,)``, zero or one, which the threshold decides; or, with ``classes``,
    predicted classes as integers of the targets' shape. Of equal scores the first is the prediction, as
    ``jnp.argmax`` has it, and comes first among the best.

    ``nan`` before anything was counted; of a class that no target had; after outputs with NaN.

    Args:
        top: a row is right if the target is among so many best scores.
        average: ``"micro"``: of all rows; ``"none"``: ``(classes,)``, of each target's class; ``"balanced"``: the mean
            of those, without classes that no target had.
        classes: how many there are; needed for ``"none"``, ``"balanced"`` and predictions as integers.
        threshold: of one score for each target: the probability above which it is predicted.
        from_logits: whether such a score is a logit or a probability.

    Example:
        >>> metric = fn.training.metrics.Accuracy(top=2)
        >>> float(metric.measure(jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), jnp.array([1, 2])))
        0.5

    Reference: ``balanced_accuracy_score`` and ``top_k_accuracy_score`` of scikit-learn, whose k best take the last of
    equal scores first.
    """

    top: int = 1
    average: str = "micro"
    classes: int | None = None
    threshold: float = 0.5
    from_logits: bool = True

    def __post_init__(self) -> None:
        check_positive("top", self.top)
        check_choice("average", self.average, ("micro", "none", "balanced"))
        check_probability("threshold", self.threshold)
        if self.classes is None and self.average != "micro":
            raise ValueError(
                f"Accuracy(average={self.average!r}) needs classes=, how many there are"
            )

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        shape = () if self.average == "micro" else (self.classes or 0,)
        return {
            "right": Count.zeros(shape),
            "all": Count.zeros(shape),
            "refused": Count.zeros((3,)),
        }

    def _rows(self, outputs: Any, targets: Any, where: Any) -> Rows:
        outputs, targets = as_arrays("Accuracy", outputs, targets)
        one_score = outputs.ndim == 1 and outputs.shape == targets.shape
        if one_score and self.classes is None:
            return binary_rows(
                "Accuracy", outputs, targets, where, self.threshold, self.from_logits
            )
        return class_rows("Accuracy", outputs, targets, where, self.classes)

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        rows = self._rows(outputs, targets, where)
        right = _among_best(rows, self.top) & rows.counted
        if self.average == "micro":
            counts = right.sum(dtype=jnp.int32), rows.counted.sum(dtype=jnp.int32)
        else:
            number = self.classes or 0
            counts = [count_classes(rows.targets, mask, number) for mask in (right, rows.counted)]
        return {
            "right": state["right"].add(counts[0]),
            "all": state["all"].add(counts[1]),
            "refused": state["refused"].add(rows.refused),
        }

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        return state["refused"].value()

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return class_reasons(self.classes)

    def value(self, state: PyTree) -> Array:
        """Divide."""
        share = state["right"].value() / state["all"].value()
        return jnp.nanmean(share) if self.average == "balanced" else share


def _among_best(rows: Rows, top: int) -> Array:
    """Say which targets are among the best scores: fewer than ``top`` classes come before them."""
    if top == 1 or rows.scores is None or rows.scores.ndim == 1:
        if top > 1:
            raise ValueError(f"Accuracy(top={top}) takes a score for each class, (..., C)")
        return rows.predicted == rows.targets
    own = jnp.take_along_axis(rows.scores, rows.targets[:, None], axis=1)
    earlier = jnp.arange(rows.scores.shape[1], dtype=jnp.int32) < rows.targets[:, None]
    before = (rows.scores > own) | ((rows.scores == own) & earlier)
    return before.sum(1) < top
