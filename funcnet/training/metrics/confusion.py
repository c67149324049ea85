"""Which class was taken for which; and how far predicted and true regions overlap."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_probability
from funcnet.training.metrics.base import Metric, class_reasons
from funcnet.training.metrics.classes import binary_rows, class_rows, count_classes
from funcnet.training.metrics.f_beta import ClassCounts
from funcnet.training.metrics.totals import Count

__all__ = ["ConfusionMatrix", "Dice", "IoU"]


@dataclass(frozen=True)
class ConfusionMatrix(Metric):
    """How many rows of each class (first axis) were predicted as which (second axis).

    Inputs are those of `Precision`, without labels. Before anything was counted all are zero. The value without
    ``normalize`` is int32, which stays at 2^31 - 1 where more was counted; `counts` reads the exact numbers. After
    outputs with NaN it is -1, or ``nan`` if normalized.

    Args:
        classes: how many there are; None: two, with one output for each target.
        normalize: None for counts; ``"true"``: each row sums to one; ``"predicted"``: each column; ``"all"``: the
            whole. A row or column of nothing is zero.
        threshold: without ``classes``: the probability above which one is predicted.
        from_logits: likewise: whether outputs are logits or probabilities.

    Example:
        >>> metric = fn.training.metrics.ConfusionMatrix(3)
        >>> metric.measure(jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2])).tolist()
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]]

    Reference: ``confusion_matrix`` of scikit-learn.
    """

    classes: int | None = None
    normalize: str | None = None
    threshold: float = 0.5
    from_logits: bool = True

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, (None, "true", "predicted", "all"))
        check_probability("threshold", self.threshold)

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        number = self.classes or 2
        return {"pairs": Count.zeros((number, number)), "refused": Count.zeros((3,))}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        name, number = "ConfusionMatrix", self.classes or 2
        if self.classes is None:
            rows = binary_rows(name, outputs, targets, where, self.threshold, self.from_logits)
        else:
            rows = class_rows(name, outputs, targets, where, self.classes)
        pair = rows.targets.astype(jnp.int32) * number + rows.predicted.astype(jnp.int32)
        pairs = count_classes(pair, rows.counted, number * number).reshape(number, number)
        return {
            "pairs": state["pairs"].add(pairs),
            "refused": state["refused"].add(rows.refused),
        }

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        return state["refused"].value()

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return class_reasons(self.classes)

    def counts(self, state: PyTree) -> np.ndarray:
        """Read the exact numbers as int64 of NumPy; not while a function is traced.

        Example:
            >>> metric = fn.training.metrics.ConfusionMatrix()
            >>> metric.counts(metric.update(metric.init(), jnp.array([1.0]), jnp.array([0]))).tolist()
            [[0, 1], [0, 0]]
        """
        return state["pairs"].exact()

    def value(self, state: PyTree) -> Array:
        """Return the counts, or their shares."""
        pairs = state["pairs"]
        if self.normalize is None:
            largest = jnp.uint32(2**31 - 1)
            low = jnp.where(pairs.high > 0, largest, jnp.minimum(pairs.low, largest))
            return low.astype(jnp.int32)
        axis = {"true": 1, "predicted": 0, "all": None}[self.normalize]
        number = pairs.value()
        return number / jnp.maximum(number.sum(axis, keepdims=True), 1)


@dataclass(frozen=True)
class IoU(ClassCounts):
    """The intersection over the union of predicted and true regions (the Jaccard index): ``tp / (tp + fp + fn)``.

    Inputs, arguments and what is ``nan``: as of `Precision`. Images are ``(N, H, W, C)`` scores with ``(N, H, W)``
    classes, or one score for each pixel of a mask. All pixels of all images are counted together.

    Example:
        >>> metric = fn.training.metrics.IoU(classes=2, average="none")
        >>> metric.measure(jnp.array([[0, 1], [1, 1]]), jnp.array([[0, 0], [0, 1]])).tolist()
        [0.3333333432674408, 0.3333333432674408]

    Reference: ``jaccard_score`` of scikit-learn.
    """

    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""
        return both, predicted + true - both


@dataclass(frozen=True)
class Dice(ClassCounts):
    """Twice the intersection over the sum of both regions, which is F1 of pixels: ``2 tp / (2 tp + fp + fn)``.

    Inputs, arguments and what is ``nan``: as of `Precision`; all pixels of all images are counted together.

    Example:
        >>> metric = fn.training.metrics.Dice()
        >>> float(metric.measure(jnp.array([[2.0, 1.0], [-1.0, 1.0]]), jnp.array([[1, 0], [0, 1]])))
        0.800000011920929

    Reference: Dice, Measures of the Amount of Ecologic Association Between Species, 1945.
    """

    def ratio(self, both: Array, predicted: Array, true: Array) -> tuple[Array, Array]:
        """Return the numerator and the denominator."""
        return 2 * both, predicted + true
