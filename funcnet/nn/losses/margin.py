"""Losses that stop once answers are apart by a margin, as layers.

The formulas are those of `funcnet.functional`.
"""

from collections.abc import Callable
from typing import Any

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice, check_positive
from funcnet.functional.losses import margin as functional
from funcnet.nn.distance import PairwiseDistance
from funcnet.nn.losses.base import Loss, WeightedLoss

__all__ = [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class _MarginLoss(Loss):
    """A loss with a margin as its first argument."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin


class MarginRankingLoss(_MarginLoss):
    """Cost of two scores in the wrong order: ``max(0, margin - t (x₁ - x₂))``.

    Args:
        margin: how far apart they should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.MarginRankingLoss()(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html
    """

    def __call__(
        self, input1: Array, input2: Array, target: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare two scores; the target is 1 if the first should be larger, else -1."""
        return functional.margin_ranking_loss(
            input1, input2, target, self.margin, reduction=self.reduction, where=where
        )


class HingeEmbeddingLoss(_MarginLoss):
    """Cost of a distance: itself where the target is 1, ``max(0, margin - x)`` where it is -1.

    Args:
        margin: how far apart what differs should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.HingeEmbeddingLoss()(jnp.array([0.5, 0.25]), jnp.array([1, -1])))
    0.625

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html
    """

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Judge distances."""
        return functional.hinge_embedding_loss(
            input, target, self.margin, reduction=self.reduction, where=where
        )


class CosineEmbeddingLoss(_MarginLoss):
    """Cost of an angle: ``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        margin: the cosine up to which what differs costs nothing.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> x = jnp.array([[3.0, 4.0]])
    >>> float(nn.CosineEmbeddingLoss()(x, -x, jnp.array([1])))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html
    """

    def __call__(
        self, input1: Array, input2: Array, target: Array, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare vectors ``(N, D)``, or ``(D,)``."""
        return functional.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction, where=where
        )


class TripletMarginLoss(Loss):
    """Cost of an anchor nearer to its negative: ``max(0, margin + d(a, p) - d(a, n))``.

    Args:
        margin: how much farther the negative should be; above 0.
        p: of the norm that measures the distance.
        eps: see `funcnet.functional.pairwise_distance`.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

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
        return functional.triplet_margin_loss(
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


class TripletMarginWithDistanceLoss(Loss):
    """`TripletMarginLoss` with any distance ``d(x, y)``.

    Args:
        distance_function: a function, or a module; by default, `PairwiseDistance`.
        margin: how much farther the negative should be; above 0.
        swap: whether to use the distance of positive and negative where that is the smaller one.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

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
        """Compare what the distance takes."""
        return functional.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
            where=where,
        )


class MultiMarginLoss(WeightedLoss):
    """Cost of classes whose scores come near to that of the true one.

    ``Σ_{c≠y} w_y max(0, margin - x_y + x_c)^p / C``

    Args:
        p: 1 or 2.
        margin: how far above the others the true class should be.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.MultiMarginLoss()(jnp.array([0.5, 0.0]), jnp.array(0)))
    0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiMarginLoss.html
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        check_choice("p", p, (1, 2))
        if self.weight is not None and len(self.weight.shape) != 1:
            raise ValueError(f"weight must have shape (C,); got {self.weight.shape}")
        self.p = p
        self.margin = margin

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare scores ``(N, C)`` with class indices ``(N,)``."""
        return functional.multi_margin_loss(
            input,
            target,
            self.p,
            self.margin,
            self.weight,
            reduction=self.reduction,
            where=where,
        )


class MultiLabelMarginLoss(Loss):
    """Cost of classes whose scores come near to those of the true ones.

    ``Σ_{y∈Y} Σ_{c∉Y} max(0, 1 - x_y + x_c) / C``

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> x, y = jnp.array([0.0, 0.0, -1.0, -0.5]), jnp.array([0, 1, -1, 3])
    >>> float(nn.MultiLabelMarginLoss()(x, y))
    0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html
    """

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare scores ``(N, C)`` with lists of class indices that end with -1."""
        return functional.multilabel_margin_loss(
            input, target, reduction=self.reduction, where=where
        )
