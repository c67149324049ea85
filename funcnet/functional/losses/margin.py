"""Losses that are zero once scores are apart by a margin, and smooth versions of them.

``where`` masks values of the unreduced loss.
"""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.functional.indices import check_indices
from funcnet.functional.losses.reductions import (
    as_float_like,
    mask_operands,
    mask_vectors,
    reduce_loss,
    resolve_reduction,
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
        input2: scores, as many axes.
        target: 1 if the first should be larger, -1 if the second; as many axes.
        margin: how far apart they should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the numbers of axes differ.

    Example:
        >>> float(F.margin_ranking_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    target = as_float_like(target, input1)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ValueError(
            "input1, input2 and target must have as many axes; "
            f"got shapes {input1.shape}, {input2.shape} and {target.shape}"
        )
    input1, input2, target = mask_operands(where, input1, input2, target)
    return reduce_loss(positive_part(margin - target * (input1 - input2)), reduction, where)


def multi_margin_loss(
    input: Array,
    target: Array,
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
        input: scores ``(N, C)`` or ``(C,)``.
        target: class indices ``(N,)`` or ``()``.
        p: 1 or 2.
        margin: how far above the others the true class should be.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: shapes that do not fit, or another ``p``.
        IndexError: a target outside of ``0 … C-1``; inside ``jax.jit`` it costs NaN.

    Example:
        >>> float(F.multi_margin_loss(jnp.array([0.5, 0.0]), jnp.array(0)))
        0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    check_choice("p", p, (1, 2))
    input, target = jnp.asarray(input), jnp.asarray(target)
    if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
        raise ValueError(
            "multi_margin_loss takes scores (N, C) with a target (N,), or (C,) with (); "
            f"got {input.shape} and {target.shape}"
        )
    classes = input.shape[-1]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight must have shape ({classes},); got {weight.shape}")
    check_indices("target", target, classes)
    (input,) = mask_vectors(where, input)
    index = target[..., None]
    true = jnp.take_along_axis(input, index, -1, mode="clip")
    excess = margin - true + input
    # not `positive_part`: at the margin itself this loss has no gradient
    cost = jnp.where(excess > 0, excess, jnp.zeros((), input.dtype))
    cost = cost if p == 1 else cost * cost
    if weight is not None:
        cost = cost * as_float_like(weight, input)[index]
    others = jnp.arange(classes, dtype=target.dtype) != index
    loss = jnp.sum(jnp.where(others, cost, jnp.zeros((), input.dtype)), -1) / classes
    known = (target >= 0) & (target < classes)
    loss = jnp.where(known, loss, jnp.full((), jnp.nan, loss.dtype))
    return reduce_loss(loss, reduction, where)


def multilabel_margin_loss(
    input: Array,
    target: Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cost of classes whose scores come near to those of the true ones.

    ``Σ_{y∈Y} Σ_{c∉Y} max(0, 1 - x_y + x_c) / C``

    Args:
        input: scores ``(N, C)`` or ``(C,)``.
        target: indices of the true classes first, then -1: of the input's shape.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the samples that count.

    Returns:
        A scalar, or one value for each sample.

    Raises:
        ValueError: the shapes differ.
        IndexError: a target outside of ``-1 … C-1``.

    Example:
        >>> x, y = jnp.array([0.0, 0.0, -1.0, -0.5]), jnp.array([0, 1, -1, 3])
        >>> float(F.multilabel_margin_loss(x, y))
        0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = jnp.asarray(input), jnp.asarray(target)
    if input.ndim not in (1, 2) or target.shape != input.shape:
        raise ValueError(
            f"multilabel_margin_loss takes scores and a target of one shape, (N, C) or (C,); "
            f"got {input.shape} and {target.shape}"
        )
    check_indices("target", target, input.shape[-1], lowest=-1)
    (input,) = mask_vectors(where, input)
    classes, zero = input.shape[-1], jnp.zeros((), input.dtype)
    listed = jnp.cumsum(target < 0, axis=-1) == 0  # what comes before the first -1
    named = listed[..., None] & (target[..., None] == jnp.arange(classes, dtype=target.dtype))
    true = jnp.sum(jnp.where(named, input[..., None, :], zero), -1)
    excess = 1 - true[..., None] + input[..., None, :]
    counts = listed[..., None] & ~named.any(-2, keepdims=True) & (excess > 0)
    loss = jnp.sum(jnp.where(counts, excess, zero), (-2, -1)) / classes
    return reduce_loss(loss, reduction, where)


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
        target: 1 or -1, a shape that broadcasts with it.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Example:
        >>> round(float(F.soft_margin_loss(jnp.zeros(4), jnp.array([1, -1, 1, -1]))), 3)
        0.693

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = mask_operands(where, input, as_float_like(target, input))
    return reduce_loss(jax.nn.softplus(-target * input), reduction, where)


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

    Example:
        >>> round(float(F.multilabel_soft_margin_loss(jnp.zeros((2, 3)), jnp.ones((2, 3)))), 3)
        0.693

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    mask = None if where is None else jnp.asarray(where)[..., None]
    input, target = mask_operands(mask, input, as_float_like(target, input))
    loss = (1 - target) * input + jax.nn.softplus(-input)
    if weight is not None:
        loss = loss * as_float_like(weight, loss)
    return reduce_loss(jnp.mean(loss, axis=-1), reduction, where)
