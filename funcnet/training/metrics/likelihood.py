"""How well probabilities fit what happened: log loss, perplexity, calibration."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.training.metrics.base import Metric, class_reasons
from funcnet.training.metrics.classes import (
    Rows,
    as_arrays,
    binary_rows,
    class_rows,
    is_whole,
    row_mask,
)
from funcnet.training.metrics.totals import Count, Total

__all__ = ["CalibrationError", "LogLoss", "Perplexity"]

PROBABILITY_FLOOR = float(np.finfo(np.float32).eps)
"""Where scikit-learn cuts float32 probabilities off, so that a sure mistake costs a finite loss."""


def _scored(
    metric: Metric, outputs: Array, targets: Array, where: Any, binary: bool, logits: bool
) -> Rows:
    name = type(metric).__name__
    if binary:
        return binary_rows(name, outputs, targets, where, 0.5, logits)
    return class_rows(name, outputs, targets, where, None, not logits)


def _one_score(outputs: Array, targets: Array) -> bool:
    return outputs.ndim == 1 and outputs.shape == targets.shape


def _log_probabilities(scores: Array, logits: bool) -> Array:
    """Return the logarithm of each class's probability, ``(N, C)``; of a binary score of zero's and one's."""
    if logits:
        if scores.ndim == 1:
            return jax.nn.log_sigmoid(jnp.stack([-scores, scores], axis=-1))
        return jax.nn.log_softmax(scores, axis=-1)
    both = jnp.stack([1 - scores, scores], axis=-1) if scores.ndim == 1 else scores
    return jnp.log(jnp.clip(both, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR))


def _losses(scores: Array, rows: Rows, targets: Array, logits: bool) -> Array:
    """Return each row's loss: of a class, or the mean over targets that are probabilities."""
    logs = _log_probabilities(scores, logits)
    if scores.ndim == 2 and not is_whole(targets):
        share = targets.reshape(logs.shape).astype(jnp.float32)
        return -jnp.where(share == 0, 0, share * logs).sum(-1)
    return -jnp.take_along_axis(logs, rows.targets.astype(jnp.int32)[:, None], axis=-1)[:, 0]


@dataclass(frozen=True)
class LogLoss(Metric):
    """The mean of the negative logarithm of the probability that was given to what is true.

    Outputs are ``(..., C)`` with class indices ``(...)``, one-hot rows or probabilities ``(..., C)``; or one score
    for each target ``(N,)``, zero or one. The mean is over rows (over rows and tokens, where there are both).
    Probabilities are cut off at float32's epsilon, as scikit-learn does; logits are not.

    ``nan`` before anything was counted and after outputs with NaN. Logits that all are rows of four or more
    probabilities in [0, 1] with sum one are taken as a mistake.

    Args:
        from_logits: whether outputs are logits or probabilities.
        multilabel: outputs ``(..., L)`` are a score for each of as many zeros and ones; the mean is over all of them.

    Example:
        >>> metric = fn.training.metrics.LogLoss(from_logits=False)
        >>> round(float(metric.measure(jnp.array([[0.9, 0.1], [0.2, 0.8]]), jnp.array([0, 1]))), 4)
        0.1643

    Reference: ``log_loss`` of scikit-learn.
    """

    from_logits: bool = True
    multilabel: bool = False

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        counts = {"rows": Count.zeros(), "alike": Count.zeros(), "refused": Count.zeros((3,))}
        return counts | {"loss": Total.zeros()}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        outputs, targets = as_arrays(type(self).__name__, outputs, targets)
        binary = self.multilabel or _one_score(outputs, targets)
        rows = _scored(self, outputs, targets, where, binary, self.from_logits)
        scores = rows.floats(type(self).__name__)
        losses = jnp.where(rows.counted, _losses(scores, rows, targets, self.from_logits), 0)
        alike = rows.counted & _are_probabilities(scores)
        return {
            "rows": state["rows"].add(rows.counted.sum(dtype=jnp.int32)),
            "alike": state["alike"].add(alike.sum(dtype=jnp.int32)),
            "refused": state["refused"].add(rows.refused),
            "loss": state["loss"].add(losses, (0,)),
        }

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        rows, alike = state["rows"].value(), state["alike"].value()
        mistaken = jnp.where((rows == alike) & (rows >= 4) & self.from_logits, rows, 0)
        return jnp.append(state["refused"].value(), mistaken)

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return (
            *class_reasons(None),
            "all {} rows of outputs are probabilities that sum to one, not logits: write from_logits=False",
        )

    def value(self, state: PyTree) -> Array:
        """Divide."""
        return state["loss"].value() / state["rows"].value()


def _are_probabilities(scores: Array) -> Array:
    if scores.ndim == 1:
        return jnp.zeros(scores.shape, bool)
    return (scores >= 0).all(-1) & (jnp.abs(scores.sum(-1) - 1) < 1e-3)


@dataclass(frozen=True)
class Perplexity(LogLoss):
    """The exponential of the mean loss of a token, over all tokens of all batches: ``exp(-Σ log p / n)``.

    Outputs ``(..., vocabulary)``, targets ``(...)``. Every token weighs the same, however long its sentence and large
    its batch. What is ``nan``: as of `LogLoss`.

    Args:
        ignore_index: targets of this number do not count; None: all do.

    Example:
        >>> metric = fn.training.metrics.Perplexity()
        >>> logits, tokens = jnp.zeros((2, 3, 8)), jnp.array([[1, 2, -100], [3, -100, -100]])
        >>> round(float(metric.measure(logits, tokens)), 4)
        8.0

    Reference: Jelinek, Mercer, Bahl and Baker, Perplexity: a Measure of the Difficulty of Speech Recognition
    Tasks, 1977.
    """

    ignore_index: int | None = -100

    def __post_init__(self) -> None:
        if self.multilabel:
            raise ValueError("Perplexity takes one token for each target: leave multilabel out")

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        outputs, targets = as_arrays("Perplexity", outputs, targets)
        if outputs.ndim != targets.ndim + 1 or not is_whole(targets):
            raise ValueError(
                f"Perplexity takes outputs (..., vocabulary) and tokens (...) as integers; got outputs "
                f"{outputs.shape} and targets {targets.shape} of {targets.dtype.name}"
            )
        if self.ignore_index is not None:
            real = targets != self.ignore_index
            where = real if where is None else real & row_mask("Perplexity", where, real.shape)
        return super().update(state, outputs, targets, where)

    def value(self, state: PyTree) -> Array:
        """Divide, and take the exponential."""
        return jnp.exp(super().value(state))


@dataclass(frozen=True)
class CalibrationError(Metric):
    """How far confidence is from how often it is right, over equal bins of confidence.

    Of scores ``(..., C)``, confidence is the largest probability and right is whether its class is the target. Of one
    score for each target ``(N,)``, it is the probability of one, and how often the target is one. A bin contains its
    upper edge. ``nan`` before anything was counted and after outputs with NaN.

    Args:
        bins: how many there are between 0 and 1.
        norm: ``"l1"``: the mean of the distances (ECE), each bin weighing by its rows; ``"l2"``: the root of the
            mean of their squares; ``"max"``: the largest.
        from_logits: whether outputs are logits or probabilities.

    Example:
        >>> metric = fn.training.metrics.CalibrationError(bins=2, from_logits=False)
        >>> round(float(metric.measure(jnp.array([0.9, 0.8, 0.7, 0.2]), jnp.array([1, 1, 0, 0]))), 4)
        0.15

    Reference: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, 2017,
    https://arxiv.org/abs/1706.04599; ``calibration_curve`` of scikit-learn.
    """

    bins: int = 15
    norm: str = "l1"
    from_logits: bool = True

    def __post_init__(self) -> None:
        check_positive("bins", self.bins)
        check_choice("norm", self.norm, ("l1", "l2", "max"))

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        shape = (self.bins,)
        counts = {"rows": Count.zeros(shape), "right": Count.zeros(shape)}
        return counts | {"confidence": Total.zeros(shape), "refused": Count.zeros((3,))}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch."""
        outputs, targets = as_arrays("CalibrationError", outputs, targets)
        binary = _one_score(outputs, targets)
        rows = _scored(self, outputs, targets, where, binary, self.from_logits)
        scores = rows.floats("CalibrationError")
        if binary:
            confidence = jax.nn.sigmoid(scores) if self.from_logits else scores
            right = rows.targets
        else:
            shares = jax.nn.softmax(scores, axis=-1) if self.from_logits else scores
            confidence = shares.max(-1)
            right = rows.predicted == rows.targets
        edges = jnp.asarray(np.linspace(0, 1, self.bins + 1)[1:-1], jnp.float32)
        inside = jnp.searchsorted(edges, confidence).astype(jnp.int32)[:, None] == jnp.arange(
            self.bins, dtype=jnp.int32
        )
        inside = inside & rows.counted[:, None]
        shares = jnp.where(inside, confidence[:, None], 0)
        return {
            "rows": state["rows"].add(inside.sum(0, dtype=jnp.int32)),
            "right": state["right"].add((inside & right[:, None]).sum(0, dtype=jnp.int32)),
            "confidence": state["confidence"].add(shares, (0,)),
            "refused": state["refused"].add(rows.refused),
        }

    def refused(self, state: PyTree) -> Array:
        """Return how many rows were not counted, by the reason."""
        return state["refused"].value()

    def reasons(self) -> tuple[str | None, ...]:
        """Say what to write instead."""
        return class_reasons(None)

    def value(self, state: PyTree) -> Array:
        """Compare each bin's mean confidence with how often it is right."""
        rows = state["rows"].value()
        number = jnp.maximum(rows, 1)
        apart = jnp.abs(state["right"].value() / number - state["confidence"].value() / number)
        weight = rows / rows.sum()
        if self.norm == "max":
            return jnp.where(rows.sum() > 0, apart.max(), jnp.nan)
        if self.norm == "l1":
            return (weight * apart).sum()
        return jnp.sqrt((weight * apart**2).sum())
