"""Losses of embeddings that should be alike or apart, as layers."""

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.losses.embedding import cosine_embedding_loss, hinge_embedding_loss
from funcnet.nn.losses.base import MarginLossLayer

__all__ = ["CosineEmbeddingLoss", "HingeEmbeddingLoss"]


class HingeEmbeddingLoss(MarginLossLayer):
    """Cost of a distance: ``x if t = 1 else max(0, margin - x)``.

    The target ``t`` is 1 for what belongs together and -1 for other pairs.

    Args:
        margin: how far apart what differs should be.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> float(nn.HingeEmbeddingLoss()(jnp.array([0.5, 0.25]), jnp.array([1, -1])))
        0.625

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html
    """

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def __call__(self, input: Array, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Return the loss of distances."""
        return hinge_embedding_loss(
            input, target, self.margin, reduction=self.reduction, where=where
        )


class CosineEmbeddingLoss(MarginLossLayer):
    """Cost of an angle: ``1 - cos φ if t = 1 else max(0, cos φ - margin)``.

    The target ``t`` is 1 for vectors that belong together and -1 for others; see `CosineSimilarity` for ``cos φ``.

    Args:
        margin: the cosine up to which what differs costs nothing.
        size_average: older form of ``reduction``.
        reduce: older form of ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Example:
        >>> x = jnp.array([[3.0, 4.0]])
        >>> float(nn.CosineEmbeddingLoss()(x, -x, jnp.array([1])))
        2.0

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html
    """

    def __call__(
        self, input1: Array, input2: Array, target: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """Compare vectors ``(N, D)``, or ``(D,)``."""
        return cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction, where=where
        )
