"""Negative log likelihoods of numbers, and the divergence between distributions.

``input`` and ``target`` have one shape. ``where`` masks values of the unreduced loss.
"""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import widened
from funcnet.functional.indices import known_values
from funcnet.functional.losses.reductions import (
    check_one_shape,
    mask_operands,
    reduce_loss,
    reduced,
    resolve_reduction,
    widened_with_labels,
)

__all__ = ["gaussian_nll_loss", "kl_div", "poisson_nll_loss"]


def kl_div(
    input: Array,
    target: ArrayLike,
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
        target: probabilities of the same shape, or their logarithms if ``log_target``.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: also ``"batchmean"``, the sum divided by the length of the first axis, without what
            ``where`` leaves out whole: the divergence of the mathematical definition. ``"mean"`` divides
            by all elements.
        log_target: whether the target holds logarithms: ``exp(t) (t - x)``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: an input of integers or booleans.

    Example:
        >>> p = jnp.array([[0.5, 0.5]])
        >>> float(F.kl_div(jnp.log(p), p, reduction="batchmean"))
        0.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.kl_div.html
    """
    choices = ("none", "batchmean", "mean", "sum")
    reduction = resolve_reduction(reduction, size_average, reduce, choices)
    dtype, x, y = widened("kl_div", input=input, target=target)
    check_one_shape("kl_div", input=x, target=y)
    x, y = mask_operands(where, x, y)
    if log_target:
        loss = jnp.exp(y) * (y - x)
    else:
        # a target of zero costs nothing: xlogy takes 0 log 0 as zero
        loss = jax.scipy.special.xlogy(y, y) - y * x
    if reduction == "batchmean":
        total = reduce_loss(loss, loss.dtype, "sum", where)
        return reduced(total, _rows_that_count(where, x), dtype)
    return reduce_loss(loss, dtype, reduction, where)


def _rows_that_count(where: ArrayLike | None, x: Array) -> Array | int:
    """Count the entries of the first axis of which something counts; one of a number."""
    if where is None or not x.ndim:
        return x.shape[0] if x.ndim else 1
    rows = jnp.broadcast_to(jnp.asarray(where, bool), x.shape).any(tuple(range(1, x.ndim)))
    return jnp.sum(rows, dtype=x.dtype)


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
        target: counts of the same shape, or one number; integers are taken too.
        log_input: whether the input holds logarithms.
        full: whether to add the term of the target alone.
        size_average: older form of ``reduction``.
        eps: keeps the logarithm finite if ``log_input`` is false.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: an input of integers or booleans.

    Example:
        >>> float(F.poisson_nll_loss(jnp.zeros(3), jnp.ones(3)))
        1.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, x, y = widened_with_labels("poisson_nll_loss", target, input=input)
    check_one_shape("poisson_nll_loss", input=x, target=y)
    x, y = mask_operands(where, x, y)
    loss = jnp.exp(x) - y * x if log_input else x - y * jnp.log(x + eps)
    if full:
        large = y > 1
        count = jnp.where(large, y, jnp.ones((), y.dtype))
        stirling = count * jnp.log(count) - count + 0.5 * jnp.log(2 * math.pi * count)
        loss = loss + jnp.where(large, stirling, jnp.zeros((), stirling.dtype))
    return reduce_loss(loss, dtype, reduction, where)


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

    The variance is raised to at least ``eps`` without a change of its gradient. Negative ones raise, and
    count as ``eps`` inside ``jax.jit``, where values are not known.

    Args:
        input: means, any shape.
        target: samples of the same shape, or one number.
        var: variances: one for each element; one for each row (the input's shape without its last
            axis, or with a single axis of length one); or a positive number.
        full: whether to add ``½ log 2π``.
        eps: the least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: shapes that do not fit, or a variance below zero.
        TypeError: integers or booleans.

    Example:
        >>> float(F.gaussian_nll_loss(jnp.array([1.0, 3.0]), jnp.zeros(2), jnp.ones(2)))
        2.5

    Reference: Nix, Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138
    """
    reduction = resolve_reduction(reduction)
    _check_variance(var, where)
    dtype, x, y, v = widened("gaussian_nll_loss", input=input, target=target, var=var)
    check_one_shape("gaussian_nll_loss", input=x, target=y)
    if v.shape not in ((), x.shape):
        if v.shape == x.shape[:-1]:
            v = v[..., None]
        differing = [(a, b) for a, b in zip(x.shape, v.shape, strict=False) if a != b]
        if x.ndim != v.ndim or [b for _, b in differing] != [1] * min(1, len(differing)):
            raise ValueError(
                f"var must have the shape {x.shape} of input, or one axis of length one in it; "
                f"got {v.shape}"
            )
    x, y, v = mask_operands(where, x, y, jnp.broadcast_to(v, x.shape))
    # the bound changes the value and leaves the gradient, so that a variance below it can grow
    v = v + jax.lax.stop_gradient(jnp.where(v < eps, eps - v, 0))
    loss = 0.5 * (jnp.log(v) + jnp.square(x - y) / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, dtype, reduction, where)


def _check_variance(var: ArrayLike, where: ArrayLike | None) -> None:
    values = known_values(var)
    if values is not None and where is None and (values < 0).any():
        raise ValueError(f"var must not be negative; got values from {values.min()}")
