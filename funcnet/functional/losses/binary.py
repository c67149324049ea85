"""Cross entropies of yes-or-no answers, each element a question of its own.

``where`` masks values of the unreduced loss.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.indices import known_values
from funcnet.functional.losses.reductions import (
    check_one_shape,
    mask_operands,
    reduce_loss,
    resolve_reduction,
    spread_weight,
    widened_with_labels,
)

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits"]


def _check_chances(where: ArrayLike | None, **arrays: ArrayLike) -> None:
    """Raise ``ValueError`` if a number that counts lies outside of 0 to 1, as far as numbers are known."""
    mask = None if where is None else known_values(where)
    for name, array in arrays.items():
        values = known_values(array)
        if values is None or (where is not None and mask is None):
            continue
        outside = (values < 0) | (values > 1)
        if mask is not None:
            outside = outside & mask
        if outside.any():
            raise ValueError(
                f"binary_cross_entropy takes probabilities, from 0 to 1; {name} reaches from "
                f"{values.min()} to {values.max()}. Of logits, write binary_cross_entropy_with_logits"
            )


_LEAST_VARIANCE = float(np.float32(1e-12))  # PyTorch holds this constant in 32 bits


@jax.custom_jvp
def _bernoulli_nll(chance: Array, target: Array) -> Array:
    """Return ``-(t log p + (1 - t) log(1 - p))`` with logarithms of at least -100."""
    log_yes = jnp.maximum(jnp.log(chance), -100)
    log_no = jnp.maximum(jnp.log1p(-chance), -100)
    return (target - 1) * log_no - target * log_yes


@_bernoulli_nll.defjvp
def _bernoulli_nll_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    chance, target = primals
    chance_dot, target_dot = tangents
    slope = (chance - target) / jnp.maximum(chance * (1 - chance), _LEAST_VARIANCE)
    odds = jnp.maximum(jnp.log1p(-chance), -100) - jnp.maximum(jnp.log(chance), -100)
    return _bernoulli_nll(chance, target), slope * chance_dot + odds * target_dot


def binary_cross_entropy(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy of probabilities: ``-w (t log p + (1 - t) log(1 - p))``.

    The logarithms are held above -100, so that a certain answer that is wrong costs 100. Numbers outside
    of 0 to 1 raise, and give NaN inside ``jax.jit``, where values are not known.

    Args:
        input: probabilities ``p`` of yes, any shape.
        target: the answers, 0 to 1, of the same shape.
        weight: factor that broadcasts to their shape; the mean still divides by their number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ, or a number is no probability.
        TypeError: an input of integers or booleans.

    Example:
        >>> loss = F.binary_cross_entropy(jnp.array([0.5, 1.0]), jnp.array([1, 0]), reduction="none")
        >>> [round(value, 3) for value in loss.tolist()]
        [0.693, 100.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    _check_chances(where, input=input, target=target)
    dtype, x, y = widened_with_labels("binary_cross_entropy", target, input=input)
    check_one_shape("binary_cross_entropy", input=x, target=y)
    x, y = mask_operands(where, x, jnp.broadcast_to(y, x.shape))
    loss = _bernoulli_nll(x, y)
    if weight is not None:
        loss = loss * spread_weight("binary_cross_entropy", weight, loss, where)
    return reduce_loss(loss, dtype, reduction, where)


def binary_cross_entropy_with_logits(
    input: Array,
    target: ArrayLike,
    weight: Array | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy of logits: ``-w (c t log σ(x) + (1 - t) log σ(-x))``, without overflow.

    Args:
        input: logits ``x``, any shape.
        target: the answers, 0 to 1, of the same shape.
        weight: factor that broadcasts to their shape; the mean still divides by their number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        pos_weight: factor ``c`` of the yes answers, which broadcasts to their shape.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes of input and target differ.
        TypeError: an input of integers or booleans.

    Example:
        >>> x = jnp.array([0.0, 100.0])
        >>> loss = F.binary_cross_entropy_with_logits(x, jnp.array([1, 0]), reduction="none")
        >>> [round(value, 3) for value in loss.tolist()]
        [0.693, 100.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    function = "binary_cross_entropy_with_logits"
    dtype, x, y = widened_with_labels(function, target, input=input)
    check_one_shape(function, input=x, target=y)
    x, y = mask_operands(where, x, y)
    surprise = jax.nn.softplus(-x)
    if pos_weight is not None:
        surprise = surprise * (1 + (spread_weight(function, pos_weight, x, where) - 1) * y)
    loss = (1 - y) * x + surprise
    if weight is not None:
        loss = loss * spread_weight(function, weight, loss, where)
    return reduce_loss(loss, dtype, reduction, where)
