"""What every loss shares: reductions and masks.

A loss computes one value for each element or sample, and `reduce_loss` makes of them what
``reduction=`` says. ``where=`` marks the values that count: the others give zero loss, no gradient
(even if their inputs are NaN) and do not enter the mean.
"""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import at_least_float32

__all__ = [
    "as_float_like",
    "mask_operands",
    "mask_vectors",
    "reduce_loss",
    "resolve_reduction",
]


def resolve_reduction(
    reduction: str,
    size_average: bool | None = None,
    reduce: bool | None = None,
    choices: tuple[str, ...] = ("none", "mean", "sum"),
) -> str:
    """Return the reduction to use, translating PyTorch's two older switches into it.

    Example:
        >>> from funcnet.functional.losses.reductions import resolve_reduction
        >>> resolve_reduction("mean"), resolve_reduction("mean", size_average=False)
        ('mean', 'sum')

    Raises:
        ValueError: an unknown reduction.
    """
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    check_choice("reduction", reduction, choices)
    return reduction


def as_float_like(value: ArrayLike, reference: Array) -> Array:
    """Give a number, or an array of integers or booleans, the dtype of a floating reference.

    Example:
        >>> from funcnet.functional.losses.reductions import as_float_like
        >>> as_float_like(jnp.array([True, False]), jnp.ones(2)).dtype
        dtype('float32')
    """
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.inexact):  # pyright: ignore[reportAttributeAccessIssue]
        return jnp.asarray(value)
    return jnp.asarray(value, reference.dtype)


def mask_operands(where: ArrayLike | None, *operands: Array) -> tuple[Array, ...]:
    """Replace what the mask leaves out by ½, at which every loss and its gradient are finite.

    Example:
        >>> from funcnet.functional.losses.reductions import mask_operands
        >>> mask_operands(jnp.array([True, False]), jnp.array([2.0, jnp.nan]))[0].tolist()
        [2.0, 0.5]
    """
    if where is None:
        return operands
    return tuple(jnp.where(where, operand, jnp.asarray(0.5, operand.dtype)) for operand in operands)


def mask_vectors(where: ArrayLike | None, *vectors: Array) -> tuple[Array, ...]:
    """Mask whole vectors, as `mask_operands` does elements: ``where`` lacks their last axis.

    Example:
        >>> from funcnet.functional.losses.reductions import mask_vectors
        >>> mask_vectors(jnp.array([True, False]), jnp.ones((2, 3)))[0][:, 0].tolist()
        [1.0, 0.5]
    """
    mask = None if where is None else jnp.asarray(where)[..., None]
    return mask_operands(mask, *vectors)


def reduce_loss(
    loss: Array,
    reduction: str,
    where: ArrayLike | None = None,
    weight: Array | None = None,
) -> Array:
    """Reduce the values of a loss to what ``reduction`` asks for.

    Args:
        loss: the values, weights already applied.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: a mask that broadcasts against the values; ``None`` counts all.
        weight: the mean divides by its sum instead of by the number of values that count.

    Returns:
        An array like ``loss`` for ``"none"``, else a scalar; the mean of nothing is NaN.

    Example:
        >>> from funcnet.functional.losses.reductions import reduce_loss
        >>> loss = jnp.array([1.0, 3.0, 8.0])
        >>> float(reduce_loss(loss, "mean", where=jnp.array([True, True, False])))
        2.0
    """
    if where is not None:
        where = jnp.broadcast_to(jnp.asarray(where, bool), loss.shape)
        loss = jnp.where(where, loss, jnp.zeros((), loss.dtype))
    if reduction == "none":
        return loss
    wide = at_least_float32(loss.dtype)
    total = jnp.sum(loss, dtype=wide)
    if reduction == "mean":
        if weight is not None:
            total = total / jnp.sum(jnp.broadcast_to(weight, loss.shape), dtype=wide, where=where)
        elif where is not None:
            total = total / jnp.sum(where, dtype=wide)
        else:
            total = total / loss.size
    return total.astype(loss.dtype)
