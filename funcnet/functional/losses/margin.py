"""Losses that are zero once scores are apart by a margin, and smooth versions of them.

``where`` masks values of the unreduced loss.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import widened
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_indices, check_integers
from funcnet.functional.losses.reductions import (
    check_one_shape,
    mask_operands,
    mask_vectors,
    reduce_loss,
    resolve_reduction,
    spread_weight,
    widened_with_labels,
)
from funcnet.functional.subgradients import positive_part

__all__ = [
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]


def margin_ranking_loss(
    input1: Array,
    input2: Array,
    target: ArrayLike,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of two scores in the wrong order: ``max(0, margin - t (x₁ - x₂))``.

    Args:
        input1: scores, any shape.
        input2: scores of the same shape.
        target: 1 if the first should be larger, -1 if the second; of the same shape, or one for all.
        margin: how far apart they should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: scores that are integers or booleans.

    Example:
        >>> float(F.margin_ranking_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    function = "margin_ranking_loss"
    dtype, first, second, y = widened_with_labels(function, target, input1=input1, input2=input2)
    check_one_shape(function, input1=first, input2=second, target=y)
    first, second, y = mask_operands(where, first, second, y)
    return reduce_loss(positive_part(margin - y * (first - second)), dtype, reduction, where)


def multi_margin_loss(
    input: Array,
    target: ArrayLike,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cost of classes whose scores come near to that of the true one.

    ``Σ_{c≠y} w_y max(0, margin - x_y + x_c)^p / C``

    Args:
        input: scores ``(N, C)`` or ``(C,)``; a number is the score of the only class.
        target: class indices ``(N,)``, or ``()`` or ``(1,)`` for a single sample.
        p: 1 or 2.
        margin: how far above the others the true class should be.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample, of the target's shape.

    Raises:
        ValueError: shapes that do not fit, or another ``p``.
        TypeError: scores that are no floats, or a target that is no integer.
        IndexError: a target outside of ``0 … C-1``; inside ``jax.jit`` it costs NaN.

    Example:
        >>> float(F.multi_margin_loss(jnp.array([0.5, 0.0]), jnp.array(0)))
        0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    check_choice("p", p, (1, 2))
    dtype, x = widened("multi_margin_loss", input=input)
    shape = np.shape(target)
    single = x.ndim < 2 and shape in ((), (1,))
    if not (single or (x.ndim == 2 and shape == x.shape[:1])) or 0 in x.shape[-1:]:
        raise ValueError(
            "multi_margin_loss takes scores (N, C) with a target (N,), or (C,) with (); "
            f"input has shape {x.shape} and target {shape}"
        )
    x = jnp.broadcast_to(x, (*shape, x.size)) if single else x
    classes = x.shape[-1]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight must have shape ({classes},); got {weight.shape}")
    check_indices("target", target, classes)
    target = jnp.asarray(target)
    check_integers("target", target)
    (x,) = mask_vectors(where, x)
    index = target[..., None]
    true = let_xla_place(
        lambda x, index: jnp.take_along_axis(x, index, -1, mode="clip"), x, index, kept=x.ndim - 1
    )
    excess = margin - true + x
    # not `positive_part`: at the margin itself this loss has no gradient
    cost = jnp.where(excess <= 0, 0, excess)  # NaN stays NaN
    cost = cost if p == 1 else cost * cost
    if weight is not None:
        each = let_xla_place(lambda i, w: w[i], index, weight.astype(x.dtype), kept=index.ndim)
        cost = cost * each
    others = jnp.arange(classes, dtype=target.dtype) != index
    loss = jnp.sum(jnp.where(others, cost, 0), -1) / classes
    known = (target >= 0) & (target < classes)
    return reduce_loss(jnp.where(known, loss, jnp.nan), dtype, reduction, where)


def multilabel_margin_loss(
    input: Array,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cost of classes whose scores come near to those of the true ones.

    ``Σ_{y∈Y} Σ_{c∉Y} max(0, 1 - x_y + x_c) / C``

    Args:
        input: scores ``(N, C)`` or ``(C,)``; a number is the score of the only class.
        target: integers of the input's shape: the true classes first, then -1. Not one yes or no for
            each class: `multilabel_soft_margin_loss` takes these.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: the shapes differ.
        TypeError: scores that are no floats, or a target that is no integer.
        IndexError: a target outside of ``-1 … C-1``; inside ``jax.jit``, where values are not known,
            those below end the list as -1 does, and one of C and more costs NaN.

    Example:
        >>> x, y = jnp.array([0.0, 0.0, -1.0, -0.5]), jnp.array([0, 1, -1, 3])
        >>> float(F.multilabel_margin_loss(x, y))
        0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, x = widened("multilabel_margin_loss", input=input)
    shape = np.shape(target)
    single = {x.shape, shape} <= {(), (1,)}
    if not (single or (x.ndim in (1, 2) and shape == x.shape)) or 0 in x.shape[-1:]:
        raise ValueError(
            f"multilabel_margin_loss takes scores and a target of one shape, (N, C) or (C,); "
            f"input has shape {x.shape} and target {shape}"
        )
    labels = jnp.asarray(target)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            "the target of multilabel_margin_loss lists the indices of the true classes, as integers "
            f"with -1 after the last; target has dtype {labels.dtype.name}. Of one yes or no for each "
            "class, write multilabel_soft_margin_loss"
        )
    x, labels = (x.reshape(1), labels.reshape(1)) if single else (x, labels)
    check_indices("target", target, x.shape[-1], lowest=-1)
    (x,) = mask_vectors(where, x)
    classes = x.shape[-1]

    def each(x: Array, labels: Array) -> Array:
        listed = jnp.cumsum(labels < 0, axis=-1) == 0  # what comes before the first -1
        named = listed[..., None] & (labels[..., None] == jnp.arange(classes, dtype=labels.dtype))
        true = jnp.sum(jnp.where(named, x[..., None, :], 0), -1)
        excess = 1 - true[..., None] + x[..., None, :]
        counts = listed[..., None] & ~named.any(-2, keepdims=True) & ~(excess <= 0)
        loss = jnp.sum(jnp.where(counts, excess, 0), (-2, -1)) / classes
        unknown = (listed & (labels >= classes)).any(-1)
        return jnp.where(unknown, jnp.nan, loss)

    return reduce_loss(let_xla_place(each, x, labels, kept=x.ndim - 1), dtype, reduction, where)


def soft_margin_loss(
    input: Array,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Logistic loss of answers that are 1 or -1: ``log(1 + exp(-t x))``.

    Args:
        input: scores, any shape.
        target: 1 or -1, of the same shape, or one for all.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: scores that are integers or booleans.

    Example:
        >>> round(float(F.soft_margin_loss(jnp.zeros(4), jnp.array([1, -1, 1, -1]))), 3)
        0.693

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, x, y = widened_with_labels("soft_margin_loss", target, input=input)
    check_one_shape("soft_margin_loss", input=x, target=y)
    x, y = mask_operands(where, x, y)
    return reduce_loss(jax.nn.softplus(-y * x), dtype, reduction, where)


def multilabel_soft_margin_loss(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Mean over the classes of the cross entropy of each class's logit.

    ``-Σ_c w_c (t_c log σ(x_c) + (1 - t_c) log σ(-x_c)) / C``

    Args:
        input: logits ``(*, C)``.
        target: 0 or 1 for each class, ``(*, C)``.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``, over the samples.
        where: mask ``(*)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: the shapes differ.
        TypeError: logits that are integers or booleans.

    Example:
        >>> round(float(F.multilabel_soft_margin_loss(jnp.zeros((2, 3)), jnp.ones((2, 3)))), 3)
        0.693

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    function = "multilabel_soft_margin_loss"
    dtype, x, y = widened_with_labels(function, target, input=input)
    check_one_shape(function, input=x, target=y)
    x, y = mask_vectors(where, x, jnp.broadcast_to(y, x.shape))
    loss = (1 - y) * x + jax.nn.softplus(-x)
    if weight is not None:
        loss = loss * spread_weight(function, weight, loss)
    return reduce_loss(jnp.mean(loss, axis=-1), dtype, reduction, where)
