"""Losses between numbers: squared, absolute and robust errors, and likelihoods of them.

``input`` and ``target`` broadcast. ``where`` masks values of the unreduced loss.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.functional.losses.reductions import like, mask_operands, reduce_loss, resolve_reduction
from funcnet.functional.subgradients import magnitude

__all__ = [
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]


def _error_loss(
    cost: Callable[[Array], Array],
    input: Array,
    target: ArrayLike,
    reduction: str,
    where: ArrayLike | None,
    weight: Array | None = None,
    divide_by_weight: bool = True,
) -> Array:
    """Reduce a cost of the error ``input - target``, times a weight of the input's shape."""
    input, target = mask_operands(where, input, like(target, input))
    loss = cost(input - target)
    if weight is None:
        return reduce_loss(loss, reduction, where)
    if weight.shape != input.shape:
        raise ValueError(
            f"weight must have the shape {input.shape} of input; got one of shape {weight.shape}"
        )
    weight = like(weight, loss)
    return reduce_loss(loss * weight, reduction, where, weight if divide_by_weight else None)


def mse_loss(
    input: Array,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Array | None = None,
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Squared error: ``(x - y)²``.

    Args:
        input: predictions, any shape.
        target: true values, a shape that broadcasts with it.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the sum of a ``weight``.
        weight: factor of each element, of the input's shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    >>> float(F.mse_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 0.0])))
    5.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.mse_loss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    return _error_loss(jnp.square, input, target, reduction, where, weight)


def l1_loss(
    input: Array,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Array | None = None,
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Absolute error: ``|x - y|``; the arguments are those of `mse_loss`.

    >>> float(F.l1_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 0.0])))
    2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.l1_loss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    return _error_loss(magnitude, input, target, reduction, where, weight)


def smooth_l1_loss(
    input: Array,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Squared error near zero, absolute error beyond ``beta``.

    ``½ e² / β`` if ``|e| < β``, else ``|e| - ½ β``. ``beta=0`` is the absolute error. The other
    arguments are those of `mse_loss`.

    Raises:
        ValueError: a negative ``beta``.

    >>> float(F.smooth_l1_loss(jnp.array([0.5, 2.0]), jnp.zeros(2), reduction="sum"))
    1.625

    Reference: Girshick 2015, https://arxiv.org/abs/1504.08083
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    check_non_negative("beta", beta)
    if beta == 0:
        return _error_loss(magnitude, input, target, reduction, where)

    def cost(error: Array) -> Array:
        size = magnitude(error)
        return jnp.where(size < beta, 0.5 * jnp.square(error) / beta, size - 0.5 * beta)

    return _error_loss(cost, input, target, reduction, where)


def huber_loss(
    input: Array,
    target: ArrayLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Array | None = None,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Squared error near zero, ``delta`` times the absolute error beyond ``delta``.

    ``½ e²`` if ``|e| ≤ δ``, else ``δ (|e| - ½ δ)``. The other arguments are those of `mse_loss`,
    but that the mean divides by the number of elements also when there is a weight.

    Raises:
        ValueError: ``delta`` is not above zero.

    >>> float(F.huber_loss(jnp.array([1.0, 3.0]), jnp.zeros(2), reduction="sum", delta=2.0))
    4.5

    Reference: Huber 1964, https://doi.org/10.1214/aoms/1177703732
    """
    reduction = resolve_reduction(reduction)
    check_positive("delta", delta)

    def cost(error: Array) -> Array:
        size = magnitude(error)
        return jnp.where(size <= delta, 0.5 * jnp.square(error), delta * (size - 0.5 * delta))

    return _error_loss(cost, input, target, reduction, where, weight, divide_by_weight=False)


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

    >>> p = jnp.array([[0.5, 0.5]])
    >>> float(F.kl_div(jnp.log(p), p, reduction="batchmean"))
    0.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.kl_div.html
    """
    choices = ("none", "batchmean", "mean", "sum")
    reduction = resolve_reduction(reduction, size_average, reduce, choices)
    input, target = mask_operands(where, input, like(target, input))
    if log_target:
        loss = jnp.exp(target) * (target - input)
    else:
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

    >>> float(F.poisson_nll_loss(jnp.zeros(3), jnp.ones(3)))
    1.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = mask_operands(where, input, like(target, input))
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

    The variance is raised to at least ``eps`` without a trace in its gradient. Its values are not
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

    >>> float(F.gaussian_nll_loss(jnp.array([1.0, 3.0]), jnp.zeros(2), jnp.ones(2)))
    2.5

    Reference: Nix, Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138
    """
    reduction = resolve_reduction(reduction)
    if isinstance(var, int | float):
        check_non_negative("var", var)
        var = jnp.full(input.shape, var, input.dtype)
    var = like(var, input)
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
        where, input, like(target, input), jnp.broadcast_to(var, input.shape)
    )
    var = var + jax.lax.stop_gradient(jnp.maximum(var, eps) - var)
    loss = 0.5 * (jnp.log(var) + jnp.square(input - target) / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction, where)
