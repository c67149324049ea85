"""Negative log likelihood and cross entropy over classes, as layers.

A weight is part of the state, under PyTorch's name.
"""

from typing import Any

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_probability
from funcnet.functional.losses.cross_entropy import cross_entropy, nll_loss
from funcnet.nn.losses.base import WeightedLossLayer

__all__ = ["CrossEntropyLoss", "NLLLoss"]


class NLLLoss(WeightedLossLayer):
    """Negative log likelihood of the true class: ``-w[y] x[y]``.

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the weights that count.

    Example:
        >>> float(nn.NLLLoss()(jnp.array([[-1.0, -2.0]]), jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare log-probabilities ``(N, C, *)`` with class indices ``(N, *)``."""
        return nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            where=where,
        )


class CrossEntropyLoss(WeightedLossLayer):
    """Cross entropy of the softmax of logits: ``-Σ_c w_c t_c log softmax(x)_c``.

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count; for class indices only.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``; see `funcnet.functional.cross_entropy`.
        label_smoothing: share of the target that is spread evenly over the classes.

    Example:
        >>> float(nn.CrossEntropyLoss()(jnp.zeros((2, 1)), jnp.array([0, 0])))
        0.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        check_probability("label_smoothing", label_smoothing)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare logits ``(N, C, *)`` with class indices ``(N, *)`` or probabilities."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            where=where,
        )
