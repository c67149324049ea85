"""Losses of an anchor that should be nearer to a positive than to a negative.

``where`` masks values of the unreduced loss.
"""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_positive
from funcnet.core.dtypes import widened
from funcnet.functional.distance import pairwise_distance
from funcnet.functional.losses.reductions import mask_operands, reduce_loss, resolve_reduction
from funcnet.functional.subgradients import positive_part

__all__ = ["triplet_margin_loss", "triplet_margin_with_distance_loss"]


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
        anchor: vectors ``(N, D)`` or ``(D,)``, real or complex.
        positive: what should be near to them; its shape, as the negative's, may have axes of length one.
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
        ValueError: shapes that do not fit, or the margin is not above zero.
        TypeError: integers or booleans.

    Example:
        >>> a, p, n = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
        >>> round(float(F.triplet_margin_loss(a, p, n)), 3)
        4.0

    Reference: Balntas et al. 2016, https://doi.org/10.5244/C.30.119
    """

    def distance(x: Array, y: Array) -> Array:
        return pairwise_distance(x, y, p, eps)

    # Distances are rounded only when they have been compared.
    dtype, anchor, positive, negative = widened(
        "triplet_margin_loss", complex=True, anchor=anchor, positive=positive, negative=negative
    )
    loss = triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=resolve_reduction(reduction, size_average, reduce),
        where=where,
    )
    return loss.astype(jnp.finfo(dtype).dtype)


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
    """Cost of an anchor nearer to its negative: ``max(0, margin + d(a, p) - d(a, n))`` with any distance ``d``.

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

    Example:
        >>> a, p, n = jnp.array([0.0]), jnp.array([5.0]), jnp.array([2.0])
        >>> distance = lambda x, y: jnp.abs(x - y)
        >>> float(F.triplet_margin_with_distance_loss(a, p, n, distance_function=distance))
        4.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.TripletMarginWithDistanceLoss.html
    """
    reduction = resolve_reduction(reduction)
    check_positive("margin", margin)
    if distance_function is None:
        return triplet_margin_loss(
            anchor, positive, negative, margin, swap=swap, reduction=reduction, where=where
        )
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ValueError(
            f"anchor has shape {anchor.shape}, positive {positive.shape} and negative "
            f"{negative.shape}; they must have as many axes"
        )
    if where is not None:
        where = jnp.asarray(where)
        mask = where.reshape(where.shape + (1,) * (anchor.ndim - where.ndim))
        anchor, positive, negative = mask_operands(mask, anchor, positive, negative)
    near, far = distance_function(anchor, positive), distance_function(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance_function(positive, negative))
    dtype, near, far = widened("a loss of distances", nearer=near, farther=far)
    return reduce_loss(positive_part(margin + near - far), dtype, reduction, where)
