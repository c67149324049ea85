"""Negative log likelihoods of numbers, and the divergence between distributions, as layers."""

from typing import ClassVar

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.losses.likelihood import gaussian_nll_loss, kl_div, poisson_nll_loss
from funcnet.nn.losses.base import LossLayer

__all__ = ["GaussianNLLLoss", "KLDivLoss", "PoissonNLLLoss"]


class KLDivLoss(LossLayer):
    """Kullback-Leibler divergence of log-probabilities from a target: ``t (log t - x)``.

    Args:
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"batchmean"`` (the divergence proper), ``"mean"`` or ``"sum"``.
        log_target: whether the target holds logarithms too.

    Example:
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

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Compare log-probabilities with a target of the same shape."""
        return kl_div(
            input, target, reduction=self.reduction, log_target=self.log_target, where=where
        )


class PoissonNLLLoss(LossLayer):
    """Negative log likelihood of counts under a Poisson distribution.

    ``exp(x) - t x`` for the logarithm ``x`` of the rate, or ``x - t log(x + eps)`` for the rate itself.

    Args:
        log_input: whether the input holds logarithms of rates.
        full: whether to add Stirling's approximation of the term of the target alone.
        size_average: older form of ``reduction``.
        eps: keeps the logarithm finite if ``log_input`` is false.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
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
        return poisson_nll_loss(
            log_input,
            target,
            self.log_input,
            self.full,
            eps=self.eps,
            reduction=self.reduction,
            where=where,
        )


class GaussianNLLLoss(LossLayer):
    """Negative log likelihood under normal distributions: ``½ (log v + (x - t)² / v)``.

    Args:
        full: whether to add ``½ log 2π``.
        eps: the least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
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
        return gaussian_nll_loss(
            input, target, var, self.full, self.eps, self.reduction, where=where
        )
