"""Losses that are zero once scores are apart by a margin, and smooth versions of them, as layers."""

from typing import Any

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.functional.losses.margin import (
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from funcnet.nn.losses.base import LossLayer, MarginLossLayer, WeightedLossLayer

__all__ = [
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "SoftMarginLoss",
]


class MarginRankingLoss(MarginLossLayer):
    """Cost of two scores in the wrong order: ``max(0, margin - t (x₁ - x₂))``.

    Args:
        margin: how far apart they should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.MarginRankingLoss()(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html
    """

    def __call__(
        self, input1: Array, input2: Array, target: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare two scores; the target is 1 if the first should be larger, else -1."""
        return margin_ranking_loss(
            input1, input2, target, self.margin, reduction=self.reduction, where=where
        )


class MultiMarginLoss(WeightedLossLayer):
    """Cost of classes whose scores come near to that of the true one.

    ``Σ_{c≠y} w_y max(0, margin - x_y + x_c)^p / C``

    Args:
        p: 1 or 2.
        margin: how far above the others the true class should be.
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
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

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare scores ``(N, C)`` with class indices ``(N,)``."""
        return multi_margin_loss(
            input,
            target,
            self.p,
            self.margin,
            self.weight,
            reduction=self.reduction,
            where=where,
        )


class MultiLabelMarginLoss(LossLayer):
    """Cost of classes whose scores come near to those of the true ones.

    ``Σ_{y∈Y} Σ_{c∉Y} max(0, 1 - x_y + x_c) / C``

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> x, y = jnp.array([0.0, 0.0, -1.0, -0.5]), jnp.array([0, 1, -1, 3])
        >>> float(nn.MultiLabelMarginLoss()(x, y))
        0.25

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare scores ``(N, C)`` with lists of class indices that end with -1."""
        return multilabel_margin_loss(input, target, reduction=self.reduction, where=where)


class SoftMarginLoss(LossLayer):
    """Logistic loss of answers that are 1 or -1: ``log(1 + exp(-t x))``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.SoftMarginLoss()(jnp.array([100.0]), jnp.array([-1])))
        100.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare scores with answers."""
        return soft_margin_loss(input, target, reduction=self.reduction, where=where)


class MultiLabelSoftMarginLoss(WeightedLossLayer):
    """Mean over the classes of the cross entropy of each class's logit.

    ``-Σ_c w_c (t_c log σ(x_c) + (1 - t_c) log σ(-x_c)) / C``

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``, over the samples.

    Example:
        >>> loss = nn.MultiLabelSoftMarginLoss()(jnp.array([[100.0, 0.0]]), jnp.zeros((1, 2)))
        >>> round(float(loss), 3)
        50.347

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare logits ``(*, C)`` with answers."""
        return multilabel_soft_margin_loss(
            input, target, self.weight, reduction=self.reduction, where=where
        )
