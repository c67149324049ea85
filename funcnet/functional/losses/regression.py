"""Losses between numbers: squared, absolute and robust errors.

``input`` and ``target`` broadcast. ``where`` masks values of the unreduced loss.
"""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.functional.losses.reductions import (
    as_float_like,
    mask_operands,
    reduce_loss,
    resolve_reduction,
)
from funcnet.functional.subgradients import magnitude

__all__ = ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]


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
    input, target = mask_operands(where, input, as_float_like(target, input))
    loss = cost(input - target)
    if weight is None:
        return reduce_loss(loss, reduction, where)
    if weight.shape != input.shape:
        raise ValueError(
            f"weight must have the shape {input.shape} of input; got one of shape {weight.shape}"
        )
    weight = as_float_like(weight, loss)
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

    Example:
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
    """Absolute error: ``|x - y|``.

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

    Example:
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

    ``½ e² / β`` if ``|e| < β``, else ``|e| - ½ β``. ``beta=0`` is the absolute error.

    Args:
        input: predictions, any shape.
        target: true values, a shape that broadcasts with it.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        beta: where the absolute error begins; at least 0.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: a negative ``beta``.

    Example:
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

    ``½ e²`` if ``|e| ≤ δ``, else ``δ (|e| - ½ δ)``.

    Args:
        input: predictions, any shape.
        target: true values, a shape that broadcasts with it.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the number of elements
            even if there is a ``weight``.
        delta: where the absolute error begins; above 0.
        weight: factor of each element, of the input's shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: ``delta`` is not above zero.

    Example:
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
