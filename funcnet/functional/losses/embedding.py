"""Losses of embeddings that should be alike or apart: of their distance, or of their angle.

``where`` masks values of the unreduced loss.
"""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.losses.reductions import (
    as_float_like,
    mask_operands,
    mask_vectors,
    reduce_loss,
    resolve_reduction,
)
from funcnet.functional.subgradients import positive_part

__all__ = ["cosine_embedding_loss", "hinge_embedding_loss"]


def hinge_embedding_loss(
    input: Array,
    target: ArrayLike,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of a distance: itself where the target is 1, ``max(0, margin - x)`` where it is -1.

    Args:
        input: distances, any shape.
        target: 1 or -1, a shape that broadcasts with it.
        margin: how far apart what differs should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Example:
        >>> x, y = jnp.array([0.5, 0.25]), jnp.array([1, -1])
        >>> F.hinge_embedding_loss(x, y, reduction="none").tolist()
        [0.5, 0.75]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    input, target = mask_operands(where, input, as_float_like(target, input))
    zero = jnp.zeros((), input.dtype)
    apart = jnp.where(target != 1, positive_part(margin - input), zero)
    return reduce_loss(apart + jnp.where(target != -1, input, zero), reduction, where)


def cosine_embedding_loss(
    input1: Array,
    input2: Array,
    target: Array,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of an angle: ``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        input1: vectors ``(N, D)`` or ``(D,)``.
        input2: vectors of the same shape.
        target: 1 or -1, ``(N,)`` or ``()``.
        margin: the cosine up to which what differs costs nothing.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask ``(N,)`` of the pairs that count.

    Returns:
        A scalar, or one value for each pair.

    Raises:
        ValueError: the numbers of axes do not fit.

    Example:
        >>> x = jnp.array([[3.0, 4.0]])
        >>> float(F.cosine_embedding_loss(x, -x, jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1:
        raise ValueError(
            "cosine_embedding_loss takes inputs (N, D) with a target (N,), or (D,) with (); "
            f"got {input1.shape}, {input2.shape} and {target.shape}"
        )
    x, y = mask_vectors(where, input1, input2)
    squares = (jnp.sum(x * x, -1) + 1e-12) * (jnp.sum(y * y, -1) + 1e-12)
    cosine = jnp.sum(x * y, -1) / jnp.sqrt(squares)
    zero = jnp.zeros((), cosine.dtype)
    same = jnp.where(target == 1, 1 - cosine, zero)
    apart = jnp.where(target == -1, positive_part(cosine - margin), zero)
    return reduce_loss(same + apart, reduction, where)
