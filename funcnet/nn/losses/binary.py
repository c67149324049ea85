"""Cross entropies of yes-or-no answers, as layers.

A weight is part of the state, under PyTorch's name.
"""

from typing import Any

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.losses.binary import binary_cross_entropy, binary_cross_entropy_with_logits
from funcnet.nn.init.from_array import buffer_from_array
from funcnet.nn.losses.base import WeightedLossLayer

__all__ = ["BCELoss", "BCEWithLogitsLoss"]


class BCELoss(WeightedLossLayer):
    """Cross entropy of probabilities of yes: ``-w (t log p + (1 - t) log(1 - p))``.

    Args:
        weight: factor that broadcasts to the shape of the input.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.BCELoss()(jnp.array([1.0, 0.0]), jnp.array([0.0, 0.0])))
        50.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare probabilities with answers of the same shape."""
        return binary_cross_entropy(
            input, target, self.weight, reduction=self.reduction, where=where
        )


class BCEWithLogitsLoss(WeightedLossLayer):
    """Cross entropy of logits of yes: ``-w (c t log σ(x) + (1 - t) log σ(-x))``, without overflow.

    Args:
        weight: factor that broadcasts to the shape of the input.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        pos_weight: factor of the yes answers, which broadcasts to the shape of the input.

    Example:
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
        return binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
            where=where,
        )
