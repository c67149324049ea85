"""Distances and angles between vectors, as layers."""

from funcnet.core.aliases import Array
from funcnet.functional.distance import cosine_similarity, pairwise_distance
from funcnet.module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """Cosine of the angle between vectors: ``x₁·x₂ / (max(|x₁|, ε) max(|x₂|, ε))``.

    Args:
        dim: the axis to sum over.
        eps: the least norm to divide by.

    Example:
        >>> nn.CosineSimilarity()(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])).tolist()
        [0.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineSimilarity.html
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = dim
        self.eps = eps

    def __call__(self, x1: Array, x2: Array) -> Array:
        """Compare vectors of shapes that broadcast."""
        return cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """Distance between corresponding vectors: ``‖x₁ - x₂ + ε‖_p`` along the last axis.

    Args:
        p: exponent of the norm.
        eps: added to each difference.
        keepdim: whether to keep the last axis with length one.

    Example:
        >>> nn.PairwiseDistance()(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))).round(3).tolist()
        [5.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PairwiseDistance.html
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def __call__(self, x1: Array, x2: Array) -> Array:
        """Compare vectors of shapes that broadcast."""
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
