"""Losses between numbers, as layers; the formulas are those of `funcnet.functional`."""

from typing import ClassVar

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.functional.losses import regression as functional
from funcnet.nn.losses.base import Loss

__all__ = [
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
]


class MSELoss(Loss):
    """Squared error: ``(x - y)²``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.MSELoss()(jnp.array([1.0, 3.0]), jnp.zeros(2)))
    5.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of any shape."""
        return functional.mse_loss(input, target, reduction=self.reduction, where=where)


class L1Loss(Loss):
    """Absolute error: ``|x - y|``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.L1Loss()(jnp.array([1.0, 3.0]), jnp.zeros(2)))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html
    """

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare arrays of any shape."""
        return functional.l1_loss(input, target, reduction=self.reduction, where=where)


class SmoothL1Loss(Loss):
    """Squared error near zero, absolute error beyond ``beta``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        beta: where the absolute error begins; at least 0.

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
        """Compare arrays of any shape."""
        return functional.smooth_l1_loss(
            input, target, reduction=self.reduction, beta=self.beta, where=where
        )


class HuberLoss(Loss):
    """Squared error near zero, ``delta`` times the absolute error beyond ``delta``.

    Args:
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        delta: where the absolute error begins; above 0.

    Raises:
        TypeError: ``delta`` is no number.

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
        """Compare arrays of any shape."""
        return functional.huber_loss(input, target, self.reduction, self.delta, where=where)


class KLDivLoss(Loss):
    """Kullback-Leibler divergence of log-probabilities from a target: ``t (log t - x)``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"batchmean"`` (the divergence proper), ``"mean"`` or ``"sum"``.
        log_target: whether the target holds logarithms too.

    >>> p = jnp.array([[0.5, 0.5]])
    >>> float(nn.KLDivLoss(reduction="batchmean")(jnp.log(p), p))
    0.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html
    """

    reductions: ClassVar[tuple[str, ...]] = ("none", "batchmean", "mean", "sum")

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare log-probabilities with a target of the same shape."""
        return functional.kl_div(
            input, target, reduction=self.reduction, log_target=self.log_target, where=where
        )


class PoissonNLLLoss(Loss):
    """Negative log likelihood of counts under a Poisson distribution.

    Args:
        log_input: whether the input holds logarithms of rates.
        full: whether to add Stirling's approximation of the term of the target alone.
        size_average: older form of ``reduction``.
        eps: keeps the logarithm finite if ``log_input`` is false.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.PoissonNLLLoss()(jnp.zeros(3), jnp.ones(3)))
    1.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def __call__(
        self, log_input: Array, target: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare rates, or their logarithms, with counts."""
        return functional.poisson_nll_loss(
            log_input,
            target,
            self.log_input,
            self.full,
            eps=self.eps,
            reduction=self.reduction,
            where=where,
        )


class GaussianNLLLoss(Loss):
    """Negative log likelihood under normal distributions: ``½ (log v + (x - t)² / v)``.

    Args:
        full: whether to add ``½ log 2π``.
        eps: the least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    >>> float(nn.GaussianNLLLoss()(jnp.array([1.0, 3.0]), jnp.zeros(2), jnp.ones(2)))
    2.5

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.GaussianNLLLoss.html
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def __call__(
        self, input: Array, target: ArrayLike, var: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare means and variances with samples."""
        return functional.gaussian_nll_loss(
            input, target, var, self.full, self.eps, self.reduction, where=where
        )
