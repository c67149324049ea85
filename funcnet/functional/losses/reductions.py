"""What every loss shares: reductions and masks.

A loss computes one value for each element or sample, and `reduce_loss` makes of them what
``reduction=`` says. ``where=`` marks the values that count: the others give zero loss, no gradient
(even if their inputs are NaN) and do not enter the mean.

What a loss compares element by element has one shape: an input and a target of other shapes, such as
``(N, 1)`` and ``(N,)``, are refused rather than spread over each other. Only a single number stands for as
many as there are. A mask or a weight may be spread, and never makes the loss larger.
"""

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import at_least_float32, widened

__all__ = [
    "Average",
    "average_of",
    "check_one_shape",
    "mask_operands",
    "mask_vectors",
    "reduce_loss",
    "resolve_reduction",
    "reduced",
    "spread_weight",
    "widened_with_labels",
]


class Average(NamedTuple):
    """A loss that was reduced, and what it is made of.

    Attributes:
        value: the scalar that the loss returned.
        total: the sum that it comes from, in 32 bits at least.
        weight: what the sum was divided by; None if it is a sum.
    """

    value: Array
    total: Array
    weight: Array | float | None


_HEARD: ContextVar[list[Average] | None] = ContextVar("heard", default=None)
"""What `average_of` listens to: None while it does not."""


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
        TypeError: a switch that is none, such as an array.
    """
    for name, switch in (("size_average", size_average), ("reduce", reduce)):
        if not isinstance(switch, bool | int | np.bool_ | None):
            raise TypeError(
                f"{name} must be True, False or None; got {type(switch).__name__}. (A layer is made of its "
                "settings and called then: nn.MSELoss()(input, target); a weight is passed by name: weight=...)"
            )
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    check_choice("reduction", reduction, choices)
    return reduction


def widened_with_labels(
    function: str, labels: ArrayLike, **inputs: Any
) -> tuple[np.dtype, *tuple[Array, ...]]:
    """Prepare inputs as `widened` does, and labels (signs, yes or no, counts) of any dtype after them.

    Labels that are floats are promoted with the inputs; integers and booleans take their dtype.

    Example:
        >>> from funcnet.functional.losses.reductions import widened_with_labels
        >>> dtype, x, y = widened_with_labels("bce", jnp.array([1, 0]), input=jnp.ones(2, jnp.bfloat16))
        >>> dtype, x.dtype, y.dtype
        (dtype(bfloat16), dtype('float32'), dtype('float32'))
    """
    if not isinstance(labels, int | float) and jnp.issubdtype(jnp.result_type(labels), jnp.inexact):
        return widened(function, **inputs, target=labels)
    dtype, *made = widened(function, **inputs)
    return dtype, *made, jnp.asarray(labels).astype(made[0].dtype)


def check_one_shape(function: str, **arrays: Array) -> None:
    """Raise ``ValueError`` unless arrays have the shape of the first, or none at all.

    Example:
        >>> from funcnet.functional.losses.reductions import check_one_shape
        >>> check_one_shape("mse_loss", input=jnp.ones((3, 1)), target=jnp.ones((3, 1)))
    """
    (first, reference), *others = arrays.items()
    for name, array in others:
        if array.shape in ((), reference.shape):
            continue
        if math.prod(array.shape) == math.prod(reference.shape):
            advice = f"if they hold the same elements, write {name}.reshape({first}.shape)"
        else:
            advice = f"to repeat one of them, write jnp.broadcast_to({name}, {first}.shape)"
        shapes = " and ".join(f"{key} has shape {value.shape}" for key, value in arrays.items())
        raise ValueError(f"{function} compares element by element, and {shapes}: {advice}")


def spread_weight(
    function: str, weight: ArrayLike, loss: Array, where: ArrayLike | None = None
) -> Array:
    """Spread a factor over the values of a loss, in their dtype, masked as they are; check that it fits.

    Example:
        >>> from funcnet.functional.losses.reductions import spread_weight
        >>> spread_weight("bce", jnp.array([1, 2]), jnp.ones((3, 2))).shape
        (3, 2)
    """
    weight = jnp.asarray(weight)
    _check_spreads(f"the weight of {function}", weight.shape, loss.shape)
    return mask_operands(where, jnp.broadcast_to(weight.astype(loss.dtype), loss.shape))[0]


def _check_spreads(name: str, shape: tuple[int, ...], full: tuple[int, ...]) -> None:
    aligned = zip(reversed(shape), reversed(full), strict=False)
    if len(shape) > len(full) or any(size not in (1, whole) for size, whole in aligned):
        raise ValueError(f"{name} has shape {shape}, which does not broadcast to {full}")


def mask_operands(where: ArrayLike | None, *operands: Array) -> tuple[Array, ...]:
    """Replace what the mask leaves out by ½, at which every loss and its gradient are finite.

    The mask broadcasts to the shape of the first.

    Example:
        >>> from funcnet.functional.losses.reductions import mask_operands
        >>> mask_operands(jnp.array([True, False]), jnp.array([2.0, jnp.nan]))[0].tolist()
        [2.0, 0.5]
    """
    if where is None:
        return operands
    where = jnp.asarray(where, bool)
    _check_spreads("where", where.shape, operands[0].shape)
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
    dtype: Any,
    reduction: str,
    where: ArrayLike | None = None,
    weight: Array | None = None,
) -> Array:
    """Reduce the values of a loss to what ``reduction`` asks for.

    Args:
        loss: the values, weights already applied, in 32 bits at least.
        dtype: of the result, which is rounded once.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: a mask that broadcasts against the values; ``None`` counts all.
        weight: the mean divides by its sum instead of by the number of values that count.

    Returns:
        An array like ``loss`` for ``"none"``, else a scalar; the mean of nothing is NaN.

    Example:
        >>> from funcnet.functional.losses.reductions import reduce_loss
        >>> loss = jnp.array([1.0, 3.0, 8.0])
        >>> float(reduce_loss(loss, jnp.float16, "mean", where=jnp.array([True, True, False])))
        2.0
    """
    if where is not None:
        where = jnp.asarray(where, bool)
        _check_spreads("where", where.shape, loss.shape)
        where = jnp.broadcast_to(where, loss.shape)
        loss = jnp.where(where, loss, jnp.zeros((), loss.dtype))
    if reduction == "none":
        return loss.astype(dtype)
    wide = at_least_float32(loss.dtype)
    total = jnp.sum(loss, dtype=wide)
    if reduction == "sum":
        return reduced(total, None, dtype)
    if weight is not None:
        by = jnp.sum(jnp.broadcast_to(weight, loss.shape), dtype=wide, where=where)
    else:
        by = loss.size if where is None else jnp.sum(where, dtype=wide)
    return reduced(total, by, dtype)


def reduced(total: Array, by: Array | float | None, dtype: Any) -> Array:
    """Divide a sum of losses, and let `average_of` know by what.

    Args:
        total: the sum.
        by: what to divide by; None leaves the sum.
        dtype: of the result.

    Example:
        >>> from funcnet.functional.losses.reductions import reduced
        >>> float(reduced(jnp.array(6.0), 3, jnp.float32))
        2.0
    """
    value = (total if by is None else total / by).astype(dtype)
    heard = _HEARD.get()
    if heard is not None:
        heard.append(Average(value, total, by))
    return value


def average_of(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a loss; return an `Average` if it returns one of this package's losses as it is, else what it returns.

    A loss that computes with the loss it got, or that is jitted, does not say what its mean was divided by.

    Example:
        >>> from funcnet.functional.losses.reductions import average_of
        >>> found = average_of(lambda x, y: F.nll_loss(x, y), jnp.zeros((3, 2)), jnp.array([0, 1, -100]))
        >>> float(found.weight)
        2.0
    """
    heard: list[Average] = []
    before = _HEARD.set(heard)
    try:
        value = function(*args, **options)
    finally:
        _HEARD.reset(before)
    # the newest first: what was reduced before may have been an ingredient
    return next((found for found in reversed(heard) if found.value is value), value)
