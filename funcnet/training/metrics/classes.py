"""From outputs and targets, as models and loaders give them, to rows that can be counted."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.training.metrics.base import NAN, NO_PROBABILITIES, OUTSIDE

__all__ = ["Rows", "binary_rows", "class_rows", "count_classes", "label_rows", "row_mask"]


class Rows(NamedTuple):
    """What is counted of a batch: flat, and in 32 bits."""

    scores: Array | None
    """``(N, C)`` float32, or ``(N,)`` of a binary metric; None where outputs are predictions."""
    predicted: Array
    """``(N,)`` int32: the class of the largest score; or ``(N,)``, ``(N, L)`` booleans."""
    targets: Array
    """``(N,)`` int32, within the classes; or booleans of predicted's shape."""
    counted: Array
    """``(N,)`` booleans: the rows that are asked for and can be counted."""
    refused: Array
    """``(3,)`` int32: how many rows could not be counted, by the reason."""

    def floats(self, metric: str) -> Array:
        """Return the scores, for a metric that needs them."""
        if self.scores is None:
            raise TypeError(
                f"{metric} takes logits or probabilities as floats; outputs are integers, predictions that are made "
                "already"
            )
        return self.scores


def row_mask(metric: str, where: Any, shape: tuple[int, ...]) -> Array:
    """Return which rows count, ``where`` stretched over the axes that it lacks at the end.

    >>> row_mask("Accuracy", jnp.array([True, False]), (2, 3)).tolist()
    [[True, True, True], [False, False, False]]
    """
    if where is None:
        return jnp.ones(shape, bool)
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(
            f"{metric} takes a mask of booleans; where has dtype {where.dtype.name}: write where != 0"
        )
    if where.ndim > len(shape) or where.shape != shape[: where.ndim]:
        raise ValueError(
            f"{metric} takes where of shape {shape}, one boolean for each target, or of its first axes; got "
            f"{where.shape}"
        )
    return jnp.broadcast_to(where.reshape(where.shape + (1,) * (len(shape) - where.ndim)), shape)


def as_arrays(metric: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Return both as arrays, outputs in float32 if they are floats.

    >>> [part.dtype.name for part in as_arrays("Accuracy", jnp.ones(2, jnp.bfloat16), [0, 1])]
    ['float32', 'int32']
    """
    if isinstance(outputs, tuple | dict):
        raise TypeError(
            f"{metric} takes outputs and targets as arrays; outputs is a {type(outputs).__name__} of "
            f"{len(outputs)}. If it is what apply returned, write outputs, state = net.apply(params, state, x)"
        )
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    for name, array in (("outputs", outputs), ("targets", targets)):
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(f"{metric} takes real numbers; {name} has dtype {array.dtype.name}")
    return _in_float32(outputs), _in_float32(targets)


def _in_float32(array: Array) -> Array:
    return array.astype(jnp.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


def is_whole(array: Array) -> bool:
    """Say whether an array holds integers or booleans.

    >>> is_whole(jnp.ones(2, int)), is_whole(jnp.ones(2))
    (True, False)
    """
    return not jnp.issubdtype(array.dtype, jnp.inexact)


def class_rows(
    metric: str,
    outputs: Any,
    targets: Any,
    where: Any,
    classes: int | None,
    probabilities: bool = False,
) -> Rows:
    """Read outputs ``(..., C)`` with class indices ``(...)`` or one-hot rows ``(..., C)``; or predicted indices.

    Args:
        metric: its name, for messages.
        outputs: scores, one a class; or predicted classes, integers of the targets' shape.
        targets: class indices, or one-hot rows or probabilities, whose largest is the class.
        where: which of the targets count.
        classes: how many there are; None: as many as there are scores.
        probabilities: outputs must be in [0, 1] and sum to one.

    Raises:
        ValueError: shapes that do not belong together, another number of classes.
        TypeError: integers where scores are meant, floats where class indices are.

    Example:
        >>> rows = class_rows("Accuracy", jnp.array([[0.2, 0.8]]), jnp.array([0]), None, 2)
        >>> rows.predicted.tolist(), rows.targets.tolist()
        ([1], [0])
    """
    outputs, targets = as_arrays(metric, outputs, targets)
    if is_whole(outputs) and outputs.shape == targets.shape and classes is not None:
        if not is_whole(targets):
            raise TypeError(_indices_are_integers(metric, targets))
        return _predicted_rows(metric, outputs, targets, where, classes)
    _check_scores(metric, outputs, targets, classes)
    number = outputs.shape[-1]
    if targets.shape == outputs.shape:
        wrong = jnp.isnan(targets).any(-1) if not is_whole(targets) else None
        index = jnp.argmax(targets, axis=-1)
    else:
        wrong, index = None, targets
    mask = row_mask(metric, where, index.shape).ravel()
    scores, index = outputs.reshape(-1, number), index.ravel()
    nan = jnp.isnan(scores).any(-1)
    nan = nan if wrong is None else nan | wrong.ravel()
    invalid = [nan, _outside(index, number)]
    if probabilities:
        invalid.append(_no_distribution(scores))
    counted, refused = _sorted_out(mask, invalid)
    return Rows(
        scores,
        jnp.argmax(scores, axis=-1).astype(jnp.int32),
        jnp.clip(index, 0, number - 1).astype(jnp.int32),
        counted,
        refused,
    )


def _no_distribution(scores: Array) -> Array:
    """Say which rows are not probabilities; the sum within what 16 bits round."""
    inside = ((scores >= 0) & (scores <= 1)).all(-1)
    return ~inside | (jnp.abs(scores.sum(-1) - 1) > 0.02)


def _outside(index: Array, number: int) -> Array:
    if index.dtype == bool:
        return jnp.zeros(index.shape, bool) if number > 1 else index
    return (index < 0) | (index >= number) if jnp.iinfo(index.dtype).max >= number else index < 0


def _sorted_out(mask: Array, invalid: list[Array]) -> tuple[Array, Array]:
    """Return which rows are counted, and for how many of the others which reason is the first."""
    numbers = [jnp.zeros((), jnp.int32)] * 3
    for place, rows in zip((NAN, OUTSIDE, NO_PROBABILITIES), invalid, strict=False):
        numbers[place] = (mask & rows).sum(dtype=jnp.int32)
        mask = mask & ~rows
    return mask, jnp.stack(numbers)


def _predicted_rows(metric: str, outputs: Array, targets: Array, where: Any, classes: int) -> Rows:
    """Read predictions that are classes already."""
    mask = row_mask(metric, where, targets.shape).ravel()
    outputs, targets = outputs.ravel(), targets.ravel()
    outside = _outside(outputs, classes) | _outside(targets, classes)
    counted, refused = _sorted_out(mask, [jnp.zeros(mask.shape, bool), outside])
    inside = [jnp.clip(part.astype(jnp.int32), 0, classes - 1) for part in (outputs, targets)]
    return Rows(None, inside[0], inside[1], counted, refused)


def _indices_are_integers(metric: str, targets: Array) -> str:
    return (
        f"{metric} takes class indices as integers; targets has dtype {targets.dtype.name}: write "
        "targets.astype(jnp.int32)"
    )


def _check_scores(metric: str, outputs: Array, targets: Array, classes: int | None) -> None:
    one_hot = outputs.ndim > 1 and targets.shape == outputs.shape
    if not one_hot and not (outputs.ndim and targets.shape == outputs.shape[:-1]):
        hint = ""
        if outputs.ndim > 2 and targets.shape == outputs.shape[:1] + outputs.shape[2:]:
            hint = ". The classes come last: write jnp.moveaxis(outputs, 1, -1)"
        elif targets.ndim == outputs.ndim > 1 and targets.shape[-1] == 1:
            hint = ". For targets of one column write targets[..., 0]"
        elif outputs.shape == targets.shape:
            hint = ". For one score a row make the metric without classes="
        raise ValueError(
            f"{metric} takes outputs (..., C), one score a class, with class indices (...) or one-hot rows "
            f"(..., C); got outputs {outputs.shape} and targets {targets.shape}{hint}"
        )
    if is_whole(outputs):
        raise TypeError(
            f"{metric} takes scores as floats; outputs has dtype {outputs.dtype.name} and shape {outputs.shape}. Write "
            "outputs.astype(jnp.float32) if they are scores; predicted classes have the targets' shape, and "
            "need classes="
        )
    if outputs.shape[-1] == 1:
        raise ValueError(
            f"{metric} takes a score for each of two classes or more; got outputs {outputs.shape}. For one score a row "
            "write outputs[..., 0], and make the metric without classes="
        )
    if classes is not None and outputs.shape[-1] != classes:
        raise ValueError(
            f"{metric} was made for classes={classes}; outputs {outputs.shape} have {outputs.shape[-1]}"
        )
    if targets.shape != outputs.shape and not is_whole(targets):
        raise TypeError(_indices_are_integers(metric, targets))


def binary_rows(
    metric: str, outputs: Any, targets: Any, where: Any, threshold: float, from_logits: bool
) -> Rows:
    """Read one score for each target, zero or one: flat.

    Example:
        >>> rows = binary_rows("FBeta", jnp.array([0.3, -2.0]), jnp.array([1, 0]), None, 0.5, True)
        >>> rows.predicted.tolist(), rows.targets.tolist()
        ([True, False], [True, False])
    """
    outputs, targets = _one_shape(metric, outputs, targets)
    mask = row_mask(metric, where, targets.shape).ravel()
    rows = _labels(outputs.reshape(-1, 1), targets.reshape(-1, 1), mask, threshold, from_logits)
    flat = [None if part is None else part[:, 0] for part in rows[:3]]
    return Rows(flat[0], flat[1], flat[2], *rows[3:])  # pyright: ignore[reportArgumentType]


def label_rows(
    metric: str,
    outputs: Any,
    targets: Any,
    where: Any,
    labels: int,
    threshold: float,
    from_logits: bool,
) -> Rows:
    """Read scores ``(..., L)`` of labels that do not exclude each other, with zeros and ones ``(..., L)``.

    Example:
        >>> rows = label_rows("FBeta", jnp.array([[0.3, -2.0]]), jnp.array([[1, 1]]), None, 2, 0.5, True)
        >>> rows.predicted.tolist(), rows.targets.tolist()
        ([[True, False]], [[True, True]])
    """
    outputs, targets = _one_shape(metric, outputs, targets)
    if not targets.ndim or targets.shape[-1] != labels:
        raise ValueError(
            f"{metric} was made for classes={labels} labels; outputs and targets have shape {targets.shape}"
        )
    mask = row_mask(metric, where, targets.shape[:-1]).ravel()
    flat = (-1, labels)
    return _labels(outputs.reshape(flat), targets.reshape(flat), mask, threshold, from_logits)


def _one_shape(metric: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    outputs, targets = as_arrays(metric, outputs, targets)
    if outputs.shape == targets.shape:
        return outputs, targets
    hint = ""
    if outputs.ndim == targets.ndim + 1 and outputs.shape[:-1] == targets.shape:
        column = outputs.shape[-1] == 1
        hint = (
            ". For outputs of one column write outputs[..., 0]"
            if column
            else f". For a score a class make the metric with classes={outputs.shape[-1]}"
        )
    elif targets.ndim == outputs.ndim + 1 and targets.shape[-1] == 1:
        hint = ". For targets of one column write targets[..., 0]"
    raise ValueError(
        f"{metric} takes one output for each target, zero or one; got outputs {outputs.shape} and targets "
        f"{targets.shape}{hint}"
    )


def _labels(
    outputs: Array, targets: Array, mask: Array, threshold: float, from_logits: bool
) -> Rows:
    """Compare scores ``(N, L)`` with the threshold, a probability."""
    nan = jnp.isnan(outputs).any(-1) if not is_whole(outputs) else jnp.zeros(mask.shape, bool)
    if not is_whole(targets):
        nan = nan | jnp.isnan(targets).any(-1)
    outside = ~_is_bit(targets).all(-1)
    if is_whole(outputs):
        scores, predicted = None, outputs.astype(bool)
        invalid = [nan, outside | ~_is_bit(outputs).all(-1)]
    else:
        scores = outputs
        predicted = outputs > (logit(threshold) if from_logits else threshold)
        strange = ~((outputs >= 0) & (outputs <= 1)).all(-1)
        invalid = [nan, outside, jnp.zeros(mask.shape, bool) if from_logits else strange]
    counted, refused = _sorted_out(mask, invalid)
    return Rows(scores, predicted, targets.astype(bool), counted, refused)


def _is_bit(array: Array) -> Array:
    if array.dtype == bool:
        return jnp.ones(array.shape, bool)
    return (array == 0) | (array == 1)


def logit(probability: float) -> float:
    """Return the logit of a probability, as a Python float: ``log p - log(1 - p)``.

    >>> logit(0.5), logit(1.0)
    (0.0, inf)
    """
    if probability in (0.0, 1.0):
        return math.inf if probability else -math.inf
    return math.log(probability) - math.log1p(-probability)


def count_classes(index: Array, counted: Array, classes: int) -> Array:
    """Count each class among the rows that count: ``(classes,)`` int32.

    >>> count_classes(jnp.array([0, 2, 2]), jnp.array([True, True, False]), 3).tolist()
    [1, 0, 1]
    """
    # rows that do not count go to a place of their own
    return jax.ops.segment_sum(
        counted.astype(jnp.int32), jnp.where(counted, index, 0), num_segments=classes
    )
