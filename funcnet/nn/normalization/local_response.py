"""Local response normalization as layers."""

from typing import ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.normalization.local_response import cross_map_lrn2d, local_response_norm
from funcnet.module import Module
from funcnet.module.precision.policy import ComputesIn

__all__ = ["CrossMapLRN2d", "LocalResponseNorm"]


class LocalResponseNorm(Module):
    """Divide each element by the energy of the ``size`` channels around it.

    ``x_c / (k + alpha * mean(x²))^beta``; input ``(N, C, *)``, output the same.

    Args:
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    Example:
        >>> nn.LocalResponseNorm(2, alpha=2.0, beta=1.0)(jnp.ones((1, 2, 1))).round(3).ravel().tolist()
        [0.5, 0.3330000042915344]

    Reference: Krizhevsky et al., 2012; ``torch.nn.LocalResponseNorm``.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, input: Array) -> Array:
        """Normalize ``(N, C, *)``."""
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2d(Module):
    """Divide each element by the energy of the channels around it, as Torch 7 did.

    ``x_c / (k + alpha / size * Σ_j x_j²)^beta``

    See `funcnet.functional.cross_map_lrn2d` for how it differs from `LocalResponseNorm`.

    Args:
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    Example:
        >>> nn.CrossMapLRN2d(3)(jnp.ones((1, 4, 2, 2))).shape
        (1, 4, 2, 2)

    Reference: ``torch.nn.CrossMapLRN2d``.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, input: Array) -> Array:
        """Normalize ``(N, C, H, W)``."""
        return cross_map_lrn2d(input, self.size, self.alpha, self.beta, self.k)
