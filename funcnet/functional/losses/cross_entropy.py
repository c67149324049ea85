"""Losses over classes: negative log likelihood and cross entropy.

Scores are ``(N, C, *)``, or ``(C,)`` for a single sample; targets are class indices ``(N, *)``, or
probabilities of the scores' shape. ``where`` masks samples, ``(N, *)``.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_probability
from funcnet.core.dtypes import as_floats, at_least_float32, widened
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_indices, check_integers
from funcnet.functional.losses.reductions import reduce_loss, resolve_reduction
from funcnet.functional.residuals import keeping_arguments, row

__all__ = ["cross_entropy", "nll_loss"]


class ClassTargets(NamedTuple):
    """What the targets say of each sample: its class, its weight, whether it counts."""

    target: Array
    weight: Array | None
    counts: Array


def _class_axis(shape: tuple[int, ...]) -> int:
    if not shape:
        raise ValueError("scores need an axis of classes, (C,) or (N, C, *); got a scalar")
    return 0 if len(shape) == 1 else 1


def _class_weight(weight: Array | None, classes: int, dtype: Any) -> Array | None:
    """Check the weights of classes and give them a dtype."""
    if weight is None:
        return None
    if weight.shape != (classes,):
        raise ValueError(
            f"weight must have one value for each of the {classes} classes; "
            f"got an array of shape {weight.shape}"
        )
    return jnp.asarray(weight, dtype)


def read_class_targets(
    shape: tuple[int, ...],
    target: ArrayLike,
    weight: Array | None,
    ignore_index: int,
    where: ArrayLike | None,
) -> ClassTargets:
    """Check class indices against the shape of the scores and look up their weights."""
    axis = _class_axis(shape)
    expected = shape[:axis] + shape[axis + 1 :]
    if np.shape(target) != expected:
        raise ValueError(
            f"target must have shape {expected} for scores of shape {shape}; got {np.shape(target)}"
        )
    known, target = target, jnp.asarray(target)  # NumPy's values are known only before this
    check_integers("a target of class indices", target)
    check_indices("target", known, shape[axis], ignored=ignore_index)
    if not jnp.issubdtype(target.dtype, jnp.signedinteger) or target.dtype.itemsize < 4:
        target = target.astype(jnp.int32)
    counts = target != ignore_index
    if where is not None:
        counts = counts & jnp.broadcast_to(jnp.asarray(where, bool), target.shape)
    if weight is not None:
        each: Array = let_xla_place(_weight_of, target, weight, kept=target.ndim)
        weight = jnp.where(counts, each, jnp.zeros((), each.dtype))
    return ClassTargets(target, weight, counts)


def _weight_of(index: Array, weight: Array) -> Array:
    return weight.at[index].get(mode="fill", fill_value=jnp.nan)


@keeping_arguments
def _pick(scores: Array, index: Array, *, axis: int) -> Array:
    """Take one class's score of each sample; NaN where the index names no class."""
    known = (index >= 0) & (index < scores.shape[axis])
    return jnp.where(known, _gather(scores, index, axis), jnp.full((), jnp.nan, scores.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _gather(scores: Array, index: Array, axis: int) -> Array:
    """Take one class's score of each sample, with a gradient that fuses with the work around it.

    The gradient compares each class with the index, where that of a gather would scatter.
    """

    def take(scores: Array, index: Array) -> Array:
        taken = jnp.take_along_axis(scores, jnp.expand_dims(index, axis), axis, mode="clip")
        return jnp.squeeze(taken, axis)

    return let_xla_place(take, scores, index, kept=axis)


@_gather.defjvp
def _gather_jvp(axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    scores, index = primals
    classes = jax.lax.broadcasted_iota(index.dtype, scores.shape, axis)
    chosen = classes == jnp.expand_dims(index, axis)
    tangent = jnp.sum(jnp.where(chosen, tangents[0], jnp.zeros((), scores.dtype)), axis)
    return _gather(scores, index, axis), tangent


def _mask_scores(input: Array, where: ArrayLike | None, axis: int) -> Array:
    if where is None:
        return input
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    where = jnp.expand_dims(jnp.broadcast_to(jnp.asarray(where, bool), shape), axis)
    return jnp.where(where, input, jnp.zeros((), input.dtype))


def nll_loss(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative log likelihood of the true class: ``-w[y] x[y]``.

    Args:
        input: log-probabilities ``(N, C, *)`` or ``(C,)``.
        target: class indices ``(N, *)`` or ``()``.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the weights that count.
        where: mask ``(N, *)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: an input that is no float, or a target that is no integer.
        IndexError: a target outside of ``0 … C-1``; inside ``jax.jit`` it costs NaN.

    Example:
        >>> log_p = jnp.array([[-1.0, -2.0], [-3.0, -0.5]])
        >>> F.nll_loss(log_p, jnp.array([0, 1]), reduction="none").tolist()
        [1.0, 0.5]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, scores = widened("nll_loss", input=input)
    axis = _class_axis(scores.shape)
    weight = _class_weight(weight, scores.shape[axis], scores.dtype)
    samples = read_class_targets(scores.shape, target, weight, ignore_index, where)
    loss = jnp.where(samples.counts, -_pick(scores, samples.target, axis=axis), 0)
    if samples.weight is not None:
        loss = loss * samples.weight
    return reduce_loss(loss, dtype, reduction, samples.counts, samples.weight)


def cross_entropy(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy of the softmax of logits: ``-Σ_c w_c t_c log softmax(x)_c``.

    Logits of sixteen bits are normalized in float32.

    Args:
        input: logits ``(N, C, *)`` or ``(C,)``.
        target: class indices ``(N, *)`` or ``()``, or probabilities of the input's shape.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count; for class indices only.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the weights of the classes
            that count, or by the number of samples if the target holds probabilities.
        label_smoothing: share of the target that is spread evenly over the classes.
        where: mask ``(N, *)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: shapes or a ``label_smoothing`` that do not fit.
        TypeError: an input that is no float, or a target whose dtype does not fit its shape.
        IndexError: a target outside of ``0 … C-1``; inside ``jax.jit`` it costs NaN.

    Example:
        >>> round(float(F.cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 3)
        1.386

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    check_probability("label_smoothing", label_smoothing)
    (logits,) = as_floats("cross_entropy", input=input)
    axis = _class_axis(logits.shape)
    if np.shape(target) == logits.shape:
        kind = jnp.asarray(target).dtype
        if not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"a target of the input's shape holds probabilities, and {kind} cannot; "
                f"class indices for {logits.shape} have one axis less"
            )
        if ignore_index >= 0:
            raise ValueError("ignore_index needs class indices, not probabilities")
        logits, chances = as_floats("cross_entropy", input=input, target=target)
        logits, chances = _mask_scores(logits, where, axis), _mask_scores(chances, where, axis)
        weight = _class_weight(weight, logits.shape[axis], at_least_float32(logits.dtype))
        loss = _against_probabilities(logits, chances, weight, smoothing=label_smoothing, axis=axis)
        return reduce_loss(loss, logits.dtype, reduction, where)
    weight = _class_weight(weight, logits.shape[axis], at_least_float32(logits.dtype))
    samples = read_class_targets(logits.shape, target, weight, ignore_index, where)
    loss = _against_indices(logits, samples, weight, smoothing=label_smoothing, axis=axis)
    return reduce_loss(loss, logits.dtype, reduction, samples.counts, samples.weight)


@keeping_arguments
def _against_probabilities(
    logits: Array, target: Array, weight: Array | None, *, smoothing: float, axis: int
) -> Array:
    logits, target = (x.astype(at_least_float32(x.dtype)) for x in (logits, target))
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / logits.shape[axis]
    if weight is not None:
        target = target * _along(weight, logits, axis)
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis), axis)


@keeping_arguments
def _against_indices(
    logits: Array, samples: ClassTargets, weight: Array | None, *, smoothing: float, axis: int
) -> Array:
    logits = logits.astype(at_least_float32(logits.dtype))
    # Everything is measured from the largest logit: of logits that are all large only their differences
    # count, and a logarithm of their sum would round these away.
    largest = row(jax.lax.stop_gradient(jnp.max(logits, axis, keepdims=True)))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    true = _pick(logits, samples.target, axis=axis) - jnp.squeeze(largest, axis)
    # Samples that do not count are masked here, where it costs no pass over the logits of its own.
    logits = jnp.where(jnp.expand_dims(samples.counts, axis), logits - largest, 0)
    total = jnp.log(row(jnp.sum(jnp.exp(logits), axis)))
    loss = jnp.where(samples.counts, total - true, 0)
    if samples.weight is not None:
        loss = loss * samples.weight
    if smoothing > 0:
        if weight is None:
            even = total - jnp.mean(logits, axis)
        else:
            scores = jnp.sum(logits * _along(weight, logits, axis), axis)
            even = (total * jnp.sum(weight) - scores) / logits.shape[axis]
        loss = (1 - smoothing) * loss + smoothing * even
    return loss


def _along(weight: Array, scores: Array, axis: int) -> Array:
    return weight.reshape((-1,) + (1,) * (scores.ndim - axis - 1))


# ---- the loss of true classes, with its gradient written down: softmax minus target


@jax.custom_jvp
def true_class_losses(
    logits: Array, index: Array, counts: Array, weight: Array, classes: Array
) -> Array:
    """Return ``-w log softmax(x)[y]`` of each sample, and zero where it does not count.

    The gradient is one pass over the logits, which depends on nothing but two numbers a sample.

    Args:
        logits: ``(N, C, *)``, in 32 bits at least.
        index: true classes ``(N, *)``; one that names no class costs NaN.
        counts: mask ``(N, *)``.
        weight: of each sample, ``(N, *)``; zero where it does not count.
        classes: ``jnp.arange(C)``; inside of a loop a constant as large as the logits would be made before it.

    Example:
        >>> from funcnet.functional.losses.cross_entropy import true_class_losses
        >>> weight, classes = jnp.array([0.0, 1.0]), jnp.arange(3)
        >>> losses = true_class_losses(jnp.zeros((2, 3)), jnp.array([-1, 1]), weight > 0, weight, classes)
        >>> [round(loss, 3) for loss in losses.tolist()]
        [0.0, 1.099]
    """
    shifted, total = _shifted_and_total(logits)
    return weight * _unweighted(shifted, total, index, counts)


@partial(true_class_losses.defjvp, symbolic_zeros=True)
def _true_class_losses_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, index, counts, weight, classes = primals
    logits_dot, _, _, weight_dot, _ = tangents
    shifted, total = _shifted_and_total(logits)
    loss = _unweighted(shifted, total, index, counts)
    tangent = jnp.zeros_like(loss)
    if not isinstance(logits_dot, SymbolicZero):
        chosen = classes.reshape(-1, *(1 for _ in logits.shape[2:])) == jnp.expand_dims(index, 1)
        softmax = jnp.exp(shifted) / jnp.expand_dims(total, 1)
        slope = jnp.expand_dims(weight, 1) * (softmax - chosen.astype(softmax.dtype))
        tangent = tangent + jnp.sum(slope * logits_dot, 1)
    if not isinstance(weight_dot, SymbolicZero):
        tangent = tangent + weight_dot * loss
    return weight * loss, tangent


def _shifted_and_total(logits: Array) -> tuple[Array, Array]:
    """Measure logits from the largest of a sample; return them and the sum of their exponentials."""
    largest = lax.stop_gradient(jnp.max(logits, 1, keepdims=True))
    shifted = logits - jnp.where(jnp.isfinite(largest), largest, 0)
    return shifted, jnp.sum(jnp.exp(shifted), 1)


def _unweighted(shifted: Array, total: Array, index: Array, counts: Array) -> Array:
    true = jnp.take_along_axis(shifted, jnp.expand_dims(index, 1), 1, mode="clip")
    known = (index >= 0) & (index < shifted.shape[1])
    true = jnp.where(known, jnp.squeeze(true, 1), jnp.full((), jnp.nan, shifted.dtype))
    return jnp.where(counts, jnp.log(total) - true, 0)
