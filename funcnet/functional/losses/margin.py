"""Losses that stop once answers are apart by a margin: rankings, embeddings, triplets, classes.

``where`` masks values of the unreduced loss.
"""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice, check_positive
from funcnet.functional.distance import pairwise_distance
from funcnet.functional.indices import check_indices
from funcnet.functional.losses.reductions import like, mask_operands, reduce_loss, resolve_reduction
from funcnet.functional.subgradients import positive_part

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def _mask_vectors(where: ArrayLike | None, *vectors: Array) -> tuple[Array, ...]:
    """Mask whole vectors: ``where`` lacks their last axis."""
    mask = None if where is None else jnp.asarray(where)[..., None]
    return mask_operands(mask, *vectors)


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

    >>> float(F.margin_ranking_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    target = like(target, input1)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ValueError(
            "input1, input2 and target must have as many axes; "
            f"got shapes {input1.shape}, {input2.shape} and {target.shape}"
        )
    input1, input2, target = mask_operands(where, input1, input2, target)
    return reduce_loss(positive_part(margin - target * (input1 - input2)), reduction, where)


def hinge_embedding_loss(
    input: Array,
    target: ArrayLike,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of a distance: itself where the target is 1, ``max(0, margin - x)`` where it is -1.

    Args:
        input: distances, any shape.
        target: 1 or -1, a shape that broadcasts with it.
        margin: how far apart what differs should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    >>> x, y = jnp.array([0.5, 0.25]), jnp.array([1, -1])
    >>> F.hinge_embedding_loss(x, y, reduction="none").tolist()
    [0.5, 0.75]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = mask_operands(where, input, like(target, input))
    zero = jnp.zeros((), input.dtype)
    apart = jnp.where(target != 1, positive_part(margin - input), zero)
    return reduce_loss(apart + jnp.where(target != -1, input, zero), reduction, where)


def cosine_embedding_loss(
    input1: Array,
    input2: Array,
    target: Array,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of an angle: ``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        input1: vectors ``(N, D)`` or ``(D,)``.
        input2: likewise.
        target: 1 or -1, ``(N,)`` or ``()``.
        margin: the cosine up to which what differs costs nothing.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the pairs that count.

    Returns:
        A scalar, or one value for each pair.

    Raises:
        ValueError: the numbers of axes do not fit.

    >>> x = jnp.array([[3.0, 4.0]])
    >>> float(F.cosine_embedding_loss(x, -x, jnp.array([1])))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1:
        raise ValueError(
            "cosine_embedding_loss takes inputs (N, D) with a target (N,), or (D,) with (); "
            f"got {input1.shape}, {input2.shape} and {target.shape}"
        )
    x, y = _mask_vectors(where, input1, input2)
    squares = (jnp.sum(x * x, -1) + 1e-12) * (jnp.sum(y * y, -1) + 1e-12)
    cosine = jnp.sum(x * y, -1) / jnp.sqrt(squares)
    zero = jnp.zeros((), cosine.dtype)
    same = jnp.where(target == 1, 1 - cosine, zero)
    apart = jnp.where(target == -1, positive_part(cosine - margin), zero)
    return reduce_loss(same + apart, reduction, where)


def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of an anchor nearer to its negative: ``max(0, margin + d(a, p) - d(a, n))``.

    Args:
        anchor: vectors ``(N, D)`` or ``(D,)``.
        positive: what should be near to them.
        negative: what should be far.
        margin: how much farther.
        p: of the norm that measures the distance.
        eps: see `pairwise_distance`.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the triplets that count.

    Returns:
        A scalar, or one value for each triplet.

    Raises:
        ValueError: the numbers of axes differ, or the margin is not above zero.

    >>> a, p, n = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
    >>> round(float(F.triplet_margin_loss(a, p, n)), 3)
    4.0

    Reference: Balntas et al. 2016, https://doi.org/10.5244/C.30.119
    """

    def distance(x: Array, y: Array) -> Array:
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=resolve_reduction(reduction, size_average, reduce),
        where=where,
    )


def triplet_margin_with_distance_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    distance_function: Callable[[Array, Array], Array] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
    where: ArrayLike | None = None,
) -> Array:
    """Apply `triplet_margin_loss` with any distance ``d(x, y)``.

    Args:
        anchor: what ``distance_function`` takes.
        positive: what should be near to it.
        negative: what should be far.
        distance_function: by default, `pairwise_distance`.
        margin: how much farther.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the triplets that count, of the distances' shape.

    Returns:
        A scalar, or one value for each triplet.

    Raises:
        ValueError: the numbers of axes differ, or the margin is not above zero.

    >>> a, p, n = jnp.array([0.0]), jnp.array([5.0]), jnp.array([2.0])
    >>> distance = lambda x, y: jnp.abs(x - y)
    >>> float(F.triplet_margin_with_distance_loss(a, p, n, distance_function=distance))
    4.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.TripletMarginWithDistanceLoss.html
    """
    reduction = resolve_reduction(reduction)
    check_positive("margin", margin)
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ValueError(
            "anchor, positive and negative must have as many axes; "
            f"got shapes {anchor.shape}, {positive.shape} and {negative.shape}"
        )
    if where is not None:
        where = jnp.asarray(where)
        mask = where.reshape(where.shape + (1,) * (anchor.ndim - where.ndim))
        anchor, positive, negative = mask_operands(mask, anchor, positive, negative)
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    return reduce_loss(positive_part(margin + near - far), reduction, where)


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
    (input,) = _mask_vectors(where, input)
    index = target[..., None]
    true = jnp.take_along_axis(input, index, -1, mode="clip")
    excess = margin - true + input
    cost = jnp.where(excess > 0, excess, jnp.zeros((), input.dtype))
    cost = cost if p == 1 else cost * cost
    if weight is not None:
        cost = cost * like(weight, input)[index]
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
    (input,) = _mask_vectors(where, input)
    classes, zero = input.shape[-1], jnp.zeros((), input.dtype)
    listed = jnp.cumsum(target < 0, axis=-1) == 0  # what comes before the first -1
    named = listed[..., None] & (target[..., None] == jnp.arange(classes, dtype=target.dtype))
    true = jnp.sum(jnp.where(named, input[..., None, :], zero), -1)
    excess = 1 - true[..., None] + input[..., None, :]
    counts = listed[..., None] & ~named.any(-2, keepdims=True) & (excess > 0)
    loss = jnp.sum(jnp.where(counts, excess, zero), (-2, -1)) / classes
    return reduce_loss(loss, reduction, where)
