"""Losses over classes and over yes-or-no answers, as layers.

The formulas are those of `funcnet.functional`. A weight is part of the state, under PyTorch's name.
"""

from typing import Any

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_probability
from funcnet.functional.losses import binary as losses_binary
from funcnet.functional.losses import classification as losses_classification
from funcnet.nn.init.from_array import buffer_from_array
from funcnet.nn.losses.base import Loss, WeightedLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "MultiLabelSoftMarginLoss",
    "NLLLoss",
    "SoftMarginLoss",
]


class NLLLoss(WeightedLoss):
    """Negative log likelihood of the true class: ``-w[y] x[y]``.

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the weights that count.

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

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare log-probabilities ``(N, C, *)`` with class indices ``(N, *)``."""
        return losses_classification.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            where=where,
        )


class CrossEntropyLoss(WeightedLoss):
    """Cross entropy of the softmax of logits: ``-Σ_c w_c t_c log softmax(x)_c``.

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        ignore_index: samples of this class do not count; for class indices only.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``; see `funcnet.functional.cross_entropy`.
        label_smoothing: share of the target that is spread evenly over the classes.

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

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare logits ``(N, C, *)`` with class indices ``(N, *)`` or probabilities."""
        return losses_classification.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            where=where,
        )


class BCELoss(WeightedLoss):
    """Cross entropy of probabilities of yes: ``-w (t log p + (1 - t) log(1 - p))``.

    Args:
        weight: factor that broadcasts with the input.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.BCELoss()(jnp.array([1.0, 0.0]), jnp.array([0.0, 0.0])))
    50.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare probabilities with answers of the same shape."""
        return losses_binary.binary_cross_entropy(
            input, target, self.weight, reduction=self.reduction, where=where
        )


class BCEWithLogitsLoss(WeightedLoss):
    """Cross entropy of logits of yes, without overflow.

    Args:
        weight: factor that broadcasts with the input.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        pos_weight: factor of the yes answers, which broadcasts with the input.

    >>> loss = nn.BCEWithLogitsLoss()(jnp.array([100.0, 0.0]), jnp.array([0.0, 1.0]))
    >>> round(float(loss), 3)
    50.347

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.pos_weight = buffer_from_array(pos_weight)

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare logits with answers of the same shape."""
        return losses_binary.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
            where=where,
        )


class SoftMarginLoss(Loss):
    """Logistic loss of answers that are 1 or -1: ``log(1 + exp(-t x))``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.SoftMarginLoss()(jnp.array([100.0]), jnp.array([-1])))
    100.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare scores with answers."""
        return losses_binary.soft_margin_loss(input, target, reduction=self.reduction, where=where)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """Mean over the classes of the cross entropy of each class's logit.

    Args:
        weight: factor of each class, ``(C,)``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``, over the samples.

    >>> loss = nn.MultiLabelSoftMarginLoss()(jnp.array([[100.0, 0.0]]), jnp.zeros((1, 2)))
    >>> round(float(loss), 3)
    50.347

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare logits ``(*, C)`` with answers."""
        return losses_binary.multilabel_soft_margin_loss(
            input, target, self.weight, reduction=self.reduction, where=where
        )
