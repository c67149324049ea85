"""Softmax and its relatives as layers."""

from typing import ClassVar

from funcnet.core.aliases import Array
from funcnet.core.checks import check_ndim
from funcnet.functional.activations.softmax import log_softmax, softmax, softmin
from funcnet.module import Module
from funcnet.module.precision.policy import ComputesIn
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class Softmax(ActivationLayer, function=softmax):
    """Turn scores into probabilities that add up to one: ``exp(x_i) / sum_j exp(x_j)``.

    Args:
        dim: axis that adds up to one; best given.

    Example:
        >>> nn.Softmax(dim=-1)(jnp.zeros(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]

    Reference: `funcnet.functional.softmax`, ``torch.nn.Softmax``.
    """

    computes_in: ClassVar[ComputesIn] = "float32"

    dim: int | None = None


class Softmin(ActivationLayer, function=softmin):
    """Turn costs into probabilities that add up to one: ``exp(-x_i) / sum_j exp(-x_j)``.

    Args:
        dim: axis that adds up to one; best given.

    Example:
        >>> nn.Softmin(dim=-1)(jnp.array([0.0, 1e9])).tolist()
        [1.0, 0.0]

    Reference: `funcnet.functional.softmin`, ``torch.nn.Softmin``.
    """

    computes_in: ClassVar[ComputesIn] = "float32"

    dim: int | None = None


class LogSoftmax(ActivationLayer, function=log_softmax):
    """Take the logarithm of a softmax, without underflow: ``x_i - log(sum_j exp(x_j))``.

    Args:
        dim: axis over which the probabilities add up to one; best given.

    Example:
        >>> nn.LogSoftmax(dim=-1)(jnp.array([0.0, -1000.0])).tolist()
        [0.0, -1000.0]

    Reference: `funcnet.functional.log_softmax`, ``torch.nn.LogSoftmax``.
    """

    computes_in: ClassVar[ComputesIn] = "float32"

    dim: int | None = None


class Softmax2d(Module):
    """Turn the channels of each pixel into probabilities: ``exp(x_c) / sum_k exp(x_k)``.

    Example:
        >>> nn.Softmax2d()(jnp.zeros((4, 2, 2)))[:, 0, 0].tolist()
        [0.25, 0.25, 0.25, 0.25]

    Reference: ``torch.nn.Softmax2d``.
    """

    computes_in: ClassVar[ComputesIn] = "float32"

    def __call__(self, input: Array) -> Array:
        """Apply a softmax over the channels of ``(N, C, H, W)`` or ``(C, H, W)``.

        Raises:
            ValueError: another number of axes.
        """
        check_ndim("input", input.ndim, (3, 4), "(C, H, W) or (N, C, H, W)")
        return softmax(input, -3)
