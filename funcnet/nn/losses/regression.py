"""Losses between numbers, as layers: squared, absolute and robust errors."""

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.functional.losses.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from funcnet.nn.losses.base import LossLayer

__all__ = ["HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss"]


class MSELoss(LossLayer):
    """Squared error: ``(x - y)²``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.MSELoss()(jnp.array([1.0, 3.0]), jnp.zeros(2)))
        5.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of one shape, or each element with one number."""
        return mse_loss(input, target, reduction=self.reduction, where=where)


class L1Loss(LossLayer):
    """Absolute error: ``|x - y|``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.L1Loss()(jnp.array([1.0, 3.0]), jnp.zeros(2)))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of one shape, or each element with one number."""
        return l1_loss(input, target, reduction=self.reduction, where=where)


class SmoothL1Loss(LossLayer):
    """Squared error near zero, absolute error beyond ``beta``.

    ``½ e² / β if |e| < β else |e| - ½ β``, where ``e`` is the error.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        beta: where the absolute error begins; at least 0.

    Example:
        >>> float(nn.SmoothL1Loss(reduction="sum")(jnp.array([0.5, 2.0]), jnp.zeros(2)))
        1.625

    Reference: Girshick 2015, https://arxiv.org/abs/1504.08083
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        check_non_negative("beta", beta)
        self.beta = beta

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of one shape, or each element with one number."""
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta, where=where)


class HuberLoss(LossLayer):
    """Squared error near zero, ``delta`` times the absolute error beyond ``delta``.

    ``½ e² if |e| ≤ δ else δ (|e| - ½ δ)``, where ``e`` is the error.

    Args:
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        delta: where the absolute error begins; above 0.

    Raises:
        TypeError: ``delta`` is no number.

    Example:
        >>> float(nn.HuberLoss(reduction="sum", delta=2.0)(jnp.array([1.0, 3.0]), jnp.zeros(2)))
        4.5

    Reference: Huber 1964, https://doi.org/10.1214/aoms/1177703732
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        if not isinstance(delta, int | float):
            raise TypeError(f"delta must be a number; got {delta!r}")
        check_positive("delta", delta)
        self.delta = delta

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of one shape, or each element with one number."""
        return huber_loss(input, target, self.reduction, self.delta, where=where)
