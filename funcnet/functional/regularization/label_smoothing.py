"""Label smoothing: let a share of every label belong to all classes alike, whatever the loss."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_positive, check_probability
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.indices import check_indices
from funcnet.functional.losses.cross_entropy import cross_entropy
from funcnet.functional.losses.reductions import Average, average_of, reduced

__all__ = ["label_smoothing", "smooth_labels"]


def smooth_labels(
    target: ArrayLike, num_classes: int, smoothing: float, *, dtype: Any = jnp.float32
) -> Array:
    r"""Take a share from labels and give it to all classes alike.

    .. math:: t' = (1 - s)\, t + s / C

    Args:
        target: class indices ``(N, *)`` or ``()``, integers; or labels of floats, of any shape: one-hot rows,
            probabilities, or answers between no (0) and yes (1), which have two classes. One-hot rows of integers
            would be taken for indices: write ``target.astype(jnp.float32)``.
        num_classes: ``C``; 2 for answers of yes or no.
        smoothing: the share ``s``.
        dtype: of what becomes of indices; floats keep their own.

    Returns:
        Probabilities: for indices with a new axis of classes, ``(N, C, *)`` or ``(C,)``, as losses take them; else
        of the target's shape. An index that names no class gives NaN.

    Raises:
        ValueError: ``smoothing`` is not between 0 and 1, or ``num_classes`` is not positive.
        IndexError: an index outside of ``0 … C-1``.

    Example:
        >>> F.smooth_labels(jnp.array([2, 0]), 4, 0.2)
        Array([[0.05, 0.05, 0.85, 0.05],
               [0.85, 0.05, 0.05, 0.05]], dtype=float32)
        >>> F.smooth_labels(jnp.array([0.0, 1.0]), 2, 0.5)
        Array([0.25, 0.75], dtype=float32)

    Reference: Szegedy et al., Rethinking the Inception Architecture, 2016, https://arxiv.org/abs/1512.00567.
    """
    check_probability("smoothing", smoothing)
    check_positive("num_classes", num_classes)
    known, target = target, jnp.asarray(target)
    if jnp.issubdtype(target.dtype, jnp.inexact):
        return _mixed(target, num_classes, smoothing)
    if target.dtype == bool:
        return _mixed(target.astype(dtype), num_classes, smoothing)
    check_indices("target", known, num_classes)
    axis = min(target.ndim, 1)
    chosen = jax.nn.one_hot(target, num_classes, axis=axis, dtype=dtype)
    real = jnp.expand_dims((target >= 0) & (target < num_classes), axis)
    return jnp.where(real, _mixed(chosen, num_classes, smoothing), jnp.full((), jnp.nan, dtype))


def _mixed(target: Array, num_classes: int, smoothing: float) -> Array:
    return target * (1 - smoothing) + smoothing / num_classes


def label_smoothing(
    loss: Callable[..., Any],
    smoothing: float,
    *,
    num_classes: int | None = None,
    ignore_index: int = -100,
) -> Callable[..., Any]:
    r"""Turn a loss into its mean over smoothed labels: each label stands with chance ``s / C`` for any class.

    .. math:: \ell_s(x, y) = (1 - s)\, \ell(x, y) + \frac{s}{C} \sum_c \ell(x, c)

    Of class indices every class is put in place of the label, whatever the loss does with it. A target of the
    input's shape (one-hot rows, probabilities, answers of yes or no) is smoothed itself, as `smooth_labels` does. Of
    `cross_entropy` both are its own ``label_smoothing``, to which the call is handed on.

    Args:
        loss: ``loss(input, target, **options)``, whose scores have classes on axis 1, ``(N, C, *)``, or are ``(C,)``.
        smoothing: the share ``s``.
        num_classes: ``C``. For indices that is the length of the input's axis of classes; a target of the input's
            shape needs it, because the shape does not tell rows of classes from answers of yes or no: 2 for these.
        ignore_index: labels that the loss leaves out, and which therefore stay as they are.

    Returns:
        A loss, called as the one given.

    Raises:
        TypeError: ``loss`` is not a function.
        ValueError: ``smoothing`` is not between 0 and 1. Raised by the loss: ``num_classes`` is missing, or is not
            the number of the classes; ``ignore_index`` is one of the classes.

    Example:
        >>> logits, target = jnp.array([[2.0, 0.0, 1.0]]), jnp.array([0])
        >>> smooth = F.label_smoothing(F.multi_margin_loss, 0.3)
        >>> round(float(smooth(logits, target)), 4)
        0.2333
        >>> answers = F.label_smoothing(F.binary_cross_entropy_with_logits, 0.2, num_classes=2)
        >>> round(float(answers(jnp.array([0.0]), jnp.array([1.0]))), 4)
        0.6931

    Reference: Szegedy et al., Rethinking the Inception Architecture, 2016, https://arxiv.org/abs/1512.00567.
    """
    if not callable(loss):
        raise TypeError(
            "label_smoothing takes a loss and returns one: F.label_smoothing(F.cross_entropy, 0.1)(logits, labels); "
            f"got {type(loss).__name__}. Labels themselves are smoothed by F.smooth_labels"
        )
    check_probability("smoothing", smoothing)
    settings = _Settings(smoothing, num_classes, ignore_index)

    def smoothed(input: Array, target: ArrayLike, **options: Any) -> Any:
        if _is_cross_entropy(loss):
            return _by_itself(loss, settings, input, target, options)
        if np.shape(target) == jnp.shape(input):
            return loss(input, _of_scores(settings, input, target), **options)
        return _mean_over_classes(partial(loss, **options), settings, input, target)

    return smoothed


class _Settings(NamedTuple):
    smoothing: float
    num_classes: int | None
    ignore_index: int

    def classes(self, found: int) -> int:
        if self.num_classes not in (None, found):
            raise ValueError(
                f"num_classes is {self.num_classes}, and the input has {found} scores for each label"
            )
        return found


def _is_cross_entropy(loss: Any) -> bool:
    while isinstance(loss, partial):
        loss = loss.func
    return loss is cross_entropy


def _by_itself(
    loss: Callable[..., Any],
    settings: _Settings,
    input: Array,
    target: ArrayLike,
    options: dict[str, Any],
) -> Array:
    if jnp.ndim(input):
        settings.classes(jnp.shape(input)[min(jnp.ndim(input) - 1, 1)])
    if settings.ignore_index != -100:
        options = {"ignore_index": settings.ignore_index, **options}
    if np.shape(target) == jnp.shape(input) and not _holds_floats(target):
        target = jnp.asarray(target, jnp.result_type(input))
    return loss(input, target, label_smoothing=settings.smoothing, **options)


def _of_scores(settings: _Settings, input: Array, target: ArrayLike) -> Array:
    if settings.num_classes is None:
        raise ValueError(
            "the target has the shape of the input: say how many classes each of its labels has, num_classes=2 for "
            "answers of yes or no (as binary_cross_entropy takes them), or the length of the axis of classes for "
            "one-hot rows and probabilities"
        )
    labels = jnp.asarray(target)
    if not _holds_floats(labels):
        labels = labels.astype(jnp.result_type(input) if _holds_floats(input) else jnp.float32)
    return smooth_labels(labels, settings.num_classes, settings.smoothing)


def _holds_floats(target: ArrayLike) -> bool:
    return jnp.issubdtype(jnp.result_type(target), jnp.inexact)


def _mean_over_classes(
    loss: Callable[..., Any], settings: _Settings, input: Array, target: ArrayLike
) -> Any:
    """Put every class in place of the labels, all at once."""
    if not jnp.ndim(input):
        raise ValueError("label_smoothing needs scores with an axis of classes, (C,) or (N, C, *)")
    classes = settings.classes(jnp.shape(input)[min(jnp.ndim(input) - 1, 1)])
    if 0 <= settings.ignore_index < classes:
        raise ValueError(
            f"ignore_index={settings.ignore_index} is one of the {classes} classes, and a loss that leaves it out "
            "cannot be smoothed over it: mark such labels by a negative number, jnp.where(target == "
            f"{settings.ignore_index}, -100, target)"
        )
    alone = average_of(loss, input, target)
    labels = jnp.asarray(target)

    def of_class(number: Array) -> Any:
        there = labels != settings.ignore_index
        found = average_of(loss, input, jnp.where(there, number, labels))
        return found.total if isinstance(found, Average) else found

    every = jax.vmap(of_class)(jnp.arange(classes, dtype=labels.dtype))
    even = jax.tree.map(
        lambda values: jnp.mean(values, 0, dtype=at_least_float32(values.dtype)), every
    )
    if isinstance(alone, Average):  # all are divided by what the true labels weigh
        total = _blended(settings.smoothing, alone.total, even)
        return reduced(total, alone.weight, alone.value.dtype)
    return jax.tree.map(partial(_blended, settings.smoothing), alone, even)


def _blended(smoothing: float, alone: Array, even: Array) -> Array:
    wide = at_least_float32(alone.dtype)
    return ((1 - smoothing) * alone.astype(wide) + smoothing * even.astype(wide)).astype(
        alone.dtype
    )
