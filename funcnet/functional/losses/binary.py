"""Cross entropies of yes-or-no answers, each element a question of its own.

``where`` masks values of the unreduced loss.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.losses.reductions import (
    as_float_like,
    mask_operands,
    reduce_loss,
    resolve_reduction,
)

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits"]


def _check_same_shape(input: Array, target: Array) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"target must have the shape {input.shape} of input; got {target.shape}. "
            "A missing axis of length one? Index one of them with [..., None]"
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

    The logarithms are held above -100, so that a certain answer that is wrong costs 100.

    Args:
        input: probabilities ``p`` of yes, any shape.
        target: the answers, 0 to 1, of the same shape.
        weight: factor that broadcasts with them; the mean still divides by their number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> loss = F.binary_cross_entropy(jnp.array([0.5, 1.0]), jnp.array([1, 0]), reduction="none")
        >>> [round(value, 3) for value in loss.tolist()]
        [0.693, 100.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    target = as_float_like(target, input)
    _check_same_shape(input, target)
    input, target = mask_operands(where, input, target)
    wide = at_least_float32(input.dtype)
    loss = _bernoulli_nll(input.astype(wide), target.astype(wide)).astype(input.dtype)
    return reduce_loss(
        loss if weight is None else loss * as_float_like(weight, loss), reduction, where
    )


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
        weight: factor that broadcasts with them; the mean still divides by their number.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        pos_weight: factor ``c`` of the yes answers, which broadcasts with them.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes of input and target differ.

    Example:
        >>> x = jnp.array([0.0, 100.0])
        >>> loss = F.binary_cross_entropy_with_logits(x, jnp.array([1, 0]), reduction="none")
        >>> [round(value, 3) for value in loss.tolist()]
        [0.693, 100.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    target = as_float_like(target, input)
    _check_same_shape(input, target)
    input, target = mask_operands(where, input, target)
    surprise = jax.nn.softplus(-input)
    if pos_weight is not None:
        surprise = surprise * (1 + (as_float_like(pos_weight, input) - 1) * target)
    loss = (1 - target) * input + surprise
    return reduce_loss(
        loss if weight is None else loss * as_float_like(weight, loss), reduction, where
    )
