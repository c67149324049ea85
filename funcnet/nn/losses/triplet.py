"""Losses of an anchor that should be nearer to a positive than to a negative, as layers."""

from collections.abc import Callable

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_positive
from funcnet.functional.losses.triplet import (
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from funcnet.nn.distance import PairwiseDistance
from funcnet.nn.losses.base import LossLayer

__all__ = ["TripletMarginLoss", "TripletMarginWithDistanceLoss"]


class TripletMarginLoss(LossLayer):
    """Cost of an anchor nearer to its negative: ``max(0, margin + d(a, p) - d(a, n))``.

    Args:
        margin: how much farther the negative should be; above 0.
        p: of the norm that measures the distance.
        eps: see `funcnet.functional.pairwise_distance`.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> a, p, n = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 2.0]])
        >>> round(float(nn.TripletMarginLoss()(a, p, n)), 3)
        4.0

    Reference: Balntas et al. 2016, https://doi.org/10.5244/C.30.119
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        check_positive("margin", margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def __call__(
        self,
        anchor: Array,
        positive: Array,
        negative: Array,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """Compare vectors ``(N, D)``, or ``(D,)``."""
        return triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            reduction=self.reduction,
            where=where,
        )


class TripletMarginWithDistanceLoss(LossLayer):
    """Cost of an anchor nearer to its negative: ``max(0, margin + d(a, p) - d(a, n))`` with any distance ``d``.

    Args:
        distance_function: a function, or a module; by default, `PairwiseDistance`.
        margin: how much farther the negative should be; above 0.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: jnp.abs(x - y))
        >>> float(loss(jnp.array([0.0]), jnp.array([5.0]), jnp.array([2.0])))
        4.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.TripletMarginWithDistanceLoss.html
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Array, Array], Array] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        check_positive("margin", margin)
        self.distance_function = distance_function or PairwiseDistance()
        self.margin = margin
        self.swap = swap

    def __call__(
        self,
        anchor: Array,
        positive: Array,
        negative: Array,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """Compare three inputs of the distance function."""
        return triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
            where=where,
        )
