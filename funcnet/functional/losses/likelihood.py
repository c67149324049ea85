"""Negative log likelihoods of numbers, and the divergence between distributions.

``input`` and ``target`` broadcast. ``where`` masks values of the unreduced loss.
"""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative
from funcnet.functional.losses.reductions import (
    as_float_like,
    mask_operands,
    reduce_loss,
    resolve_reduction,
)

__all__ = ["gaussian_nll_loss", "kl_div", "poisson_nll_loss"]


def kl_div(
    input: Array,
    target: Array,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Kullback-Leibler divergence of the input from the target: ``t (log t - x)``.

    Args:
        input: log-probabilities, any shape.
        target: probabilities, or their logarithms if ``log_target``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: also ``"batchmean"``, the sum divided by the length of the first axis: the
            divergence of the mathematical definition. ``"mean"`` divides by all elements.
        log_target: whether the target holds logarithms: ``exp(t) (t - x)``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Example:
        >>> p = jnp.array([[0.5, 0.5]])
        >>> float(F.kl_div(jnp.log(p), p, reduction="batchmean"))
        0.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.kl_div.html
    """
    choices = ("none", "batchmean", "mean", "sum")
    reduction = resolve_reduction(reduction, size_average, reduce, choices)
    input, target = mask_operands(where, input, as_float_like(target, input))
    if log_target:
        loss = jnp.exp(target) * (target - input)
    else:
        # a target of zero costs nothing: xlogy takes 0 log 0 as zero
        loss = jax.scipy.special.xlogy(target, target) - target * input
    if reduction == "batchmean":
        total = reduce_loss(loss, "sum", where)
        return total / input.shape[0] if input.ndim else total
    return reduce_loss(loss, reduction, where)


def poisson_nll_loss(
    input: Array,
    target: ArrayLike,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative log likelihood of counts under a Poisson distribution.

    ``exp(x) - t x`` for the logarithm ``x`` of the rate, or ``x - t log(x + eps)`` for the rate
    itself; ``full`` adds Stirling's approximation of ``log t!``, which is
    ``t log t - t + ½ log(2πt)`` where ``t > 1``.

    Args:
        input: rates or their logarithms, any shape.
        target: counts, a shape that broadcasts with it.
        log_input: whether the input holds logarithms.
        full: whether to add the term of the target alone.
        size_average: older form of ``reduction``.
        eps: keeps the logarithm finite if ``log_input`` is false.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Example:
        >>> float(F.poisson_nll_loss(jnp.zeros(3), jnp.ones(3)))
        1.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = mask_operands(where, input, as_float_like(target, input))
    loss = jnp.exp(input) - target * input if log_input else input - target * jnp.log(input + eps)
    if full:
        large = target > 1
        count = jnp.where(large, target, jnp.ones((), target.dtype))
        stirling = count * jnp.log(count) - count + 0.5 * jnp.log(2 * math.pi * count)
        loss = loss + jnp.where(large, stirling, jnp.zeros((), stirling.dtype))
    return reduce_loss(loss, reduction, where)


def gaussian_nll_loss(
    input: Array,
    target: ArrayLike,
    var: ArrayLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative log likelihood under normal distributions: ``½ (log v + (x - t)² / v)``.

    The variance is raised to at least ``eps`` without a change of its gradient. Its values are not
    checked: negative ones count as ``eps``.

    Args:
        input: means, any shape.
        target: samples, a shape that broadcasts with it.
        var: variances: one for each element; one for each row (the input's shape without its last
            axis, or with a single axis of length one); or a positive number.
        full: whether to add ``½ log 2π``.
        eps: the least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: ``var`` has another shape, or is a negative number.

    Example:
        >>> float(F.gaussian_nll_loss(jnp.array([1.0, 3.0]), jnp.zeros(2), jnp.ones(2)))
        2.5

    Reference: Nix, Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138
    """
    reduction = resolve_reduction(reduction)
    if isinstance(var, int | float):
        check_non_negative("var", var)
        var = jnp.full(input.shape, var, input.dtype)
    var = as_float_like(var, input)
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = var[..., None]
        differing = [(a, b) for a, b in zip(input.shape, var.shape, strict=False) if a != b]
        if input.ndim != var.ndim or [b for _, b in differing] != [1] * min(1, len(differing)):
            raise ValueError(
                f"var must have the shape {input.shape} of input, or one axis of length one in it; "
                f"got {var.shape}"
            )
    input, target, var = mask_operands(
        where, input, as_float_like(target, input), jnp.broadcast_to(var, input.shape)
    )
    # the bound changes the value and leaves the gradient, so that a variance below it can grow
    var = var + jax.lax.stop_gradient(jnp.maximum(var, eps) - var)
    loss = 0.5 * (jnp.log(var) + jnp.square(input - target) / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction, where)
