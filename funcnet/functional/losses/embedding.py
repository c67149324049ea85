"""Losses of embeddings that should be alike or apart: of their distance, or of their angle.

``where`` masks values of the unreduced loss.
"""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.dtypes import widened
from funcnet.functional.losses.reductions import (
    check_one_shape,
    mask_operands,
    mask_vectors,
    reduce_loss,
    resolve_reduction,
    widened_with_labels,
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
    """Cost of a distance: ``x if t = 1 else max(0, margin - x)``.

    The target ``t`` is 1 for what belongs together and -1 for other pairs.

    Args:
        input: distances, any shape.
        target: 1 or -1, of the same shape, or one for all.
        margin: how far apart what differs should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        where: mask of the elements that count.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: the shapes differ.
        TypeError: an input of integers or booleans.

    Example:
        >>> x, y = jnp.array([0.5, 0.25]), jnp.array([1, -1])
        >>> F.hinge_embedding_loss(x, y, reduction="none").tolist()
        [0.5, 0.75]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, x, y = widened_with_labels("hinge_embedding_loss", target, input=input)
    check_one_shape("hinge_embedding_loss", input=x, target=y)
    x, y = mask_operands(where, x, y)
    apart = jnp.where(y != 1, positive_part(margin - x), 0)
    return reduce_loss(apart + jnp.where(y != -1, x, 0), dtype, reduction, where)


def cosine_embedding_loss(
    input1: Array,
    input2: Array,
    target: ArrayLike,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    where: ArrayLike | None = None,
) -> Array:
    """Cost of an angle: ``1 - cos φ if t = 1 else max(0, cos φ - margin)``.

    The target ``t`` is 1 for vectors that belong together and -1 for others; see `cosine_similarity` for ``cos φ``.

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
        ValueError: shapes that do not fit.
        TypeError: inputs of integers or booleans.

    Example:
        >>> x = jnp.array([[3.0, 4.0]])
        >>> float(F.cosine_embedding_loss(x, -x, jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html
    """
    reduction = resolve_reduction(reduction, size_average, reduce)
    dtype, x, y = widened("cosine_embedding_loss", input1=input1, input2=input2)
    target = jnp.asarray(target)
    if target.ndim > 1 or x.shape != y.shape or x.shape[:-1] != target.shape or not x.ndim:
        raise ValueError(
            "cosine_embedding_loss takes inputs (N, D) with a target (N,), or (D,) with (); "
            f"input1 has shape {x.shape}, input2 {y.shape} and target {target.shape}"
        )
    x, y = mask_vectors(where, x, y)
    first, second = jnp.sum(x * x, -1) + 1e-12, jnp.sum(y * y, -1) + 1e-12
    # not over the root of their product, which overflows; and vectors that are equal have a cosine of 1
    cosine = jnp.sum(x * y, -1) / first * jnp.sqrt(first / second)
    same = jnp.where(target == 1, 1 - cosine, 0)
    apart = jnp.where(target == -1, positive_part(cosine - margin), 0)
    return reduce_loss(same + apart, dtype, reduction, where)
