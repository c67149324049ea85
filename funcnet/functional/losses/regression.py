"""Losses between numbers: squared, absolute and robust errors.

``input`` and ``target`` are floats of one shape; a target may be a single number. ``where`` masks values of
the unreduced loss.
"""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.core.dtypes import widened
from funcnet.functional.losses.reductions import (
    check_one_shape,
    mask_operands,
    reduce_loss,
    resolve_reduction,
)
from funcnet.functional.subgradients import magnitude

__all__ = ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]


def _error_loss(
    function: str,
    cost: Callable[[Array], Array],
    input: Array,
    target: ArrayLike,
    reduction: str,
    where: ArrayLike | None,
    weight: Array | None = None,
    divide_by_weight: bool = True,
    complex: bool = False,
) -> Array:
    """Reduce a cost of the error ``input - target``, times a weight of the input's shape."""
    dtype, x, y = widened(function, complex=complex, input=input, target=target)
    check_one_shape(function, input=x, target=y)
    if weight is not None and weight.shape != x.shape:
        raise ValueError(
            f"weight must have the shape {x.shape} of input; got one of shape {weight.shape}"
        )
    x, y = mask_operands(where, x, y)
    loss = cost(x - y)
    dtype = jnp.finfo(dtype).dtype  # a cost is real where numbers are complex
    if weight is None:
        return reduce_loss(loss, dtype, reduction, where)
    (weight,) = mask_operands(where, weight.astype(loss.dtype))
    return reduce_loss(loss * weight, dtype, reduction, where, weight if divide_by_weight else None)


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
        target: true values of the same shape, or one number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the sum of a ``weight``.
        weight: factor of each element, of the input's shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: integers or booleans.

    Example:
        >>> float(F.mse_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 0.0])))
        5.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.mse_loss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    return _error_loss("mse_loss", jnp.square, input, target, reduction, where, weight)


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
        input: predictions, real or complex, any shape.
        target: true values of the same shape, or one number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the sum of a ``weight``.
        weight: factor of each element, of the input's shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: integers or booleans.

    Example:
        >>> float(F.l1_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 0.0])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.l1_loss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    return _error_loss("l1_loss", magnitude, input, target, reduction, where, weight, complex=True)


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

    ``½ e² / β if |e| < β else |e| - ½ β``, where ``e`` is the error. ``beta=0`` is the absolute error.

    Args:
        input: predictions, any shape.
        target: true values of the same shape, or one number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        beta: where the absolute error begins; at least 0.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ, or ``beta`` is negative.
        TypeError: integers or booleans.

    Example:
        >>> float(F.smooth_l1_loss(jnp.array([0.5, 2.0]), jnp.zeros(2), reduction="sum"))
        1.625

    Reference: Girshick 2015, https://arxiv.org/abs/1504.08083
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    check_non_negative("beta", beta)
    if beta == 0:
        return _error_loss("smooth_l1_loss", magnitude, input, target, reduction, where)

    def cost(error: Array) -> Array:
        size = magnitude(error)
        near = size < beta
        small = jnp.where(
            near, error, 0
        )  # the square of an infinite error has no part in the slope
        return jnp.where(near, 0.5 * jnp.square(small) / beta, size - 0.5 * beta)

    return _error_loss("smooth_l1_loss", cost, input, target, reduction, where)


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

    ``½ e² if |e| ≤ δ else δ (|e| - ½ δ)``, where ``e`` is the error.

    Args:
        input: predictions, any shape.
        target: true values of the same shape, or one number.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``, which divides by the number of elements
            even if there is a ``weight``.
        delta: where the absolute error begins; above 0.
        weight: factor of each element, of the input's shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ, or ``delta`` is not above zero.
        TypeError: integers or booleans.

    Example:
        >>> float(F.huber_loss(jnp.array([1.0, 3.0]), jnp.zeros(2), reduction="sum", delta=2.0))
        4.5

    Reference: Huber 1964, https://doi.org/10.1214/aoms/1177703732
    """
    reduction = resolve_reduction(reduction)
    check_positive("delta", delta)

    def cost(error: Array) -> Array:
        size = magnitude(error)
        near = size <= delta
        small = jnp.where(near, error, 0)
        return jnp.where(near, 0.5 * jnp.square(small), delta * (size - 0.5 * delta))

    return _error_loss(
        "huber_loss", cost, input, target, reduction, where, weight, divide_by_weight=False
    )
