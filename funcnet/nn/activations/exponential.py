"""Exponential linear units as layers."""

from funcnet.functional.activations.exponential import celu, elu, selu
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["CELU", "ELU", "SELU"]


class ELU(ActivationLayer, function=elu):
    """Rectify with an exponential below zero: ``x if x > 0 else alpha * (exp(x) - 1)``.

    Args:
        alpha: minus the value that the negative side saturates at.

    Example:
        >>> nn.ELU(3.0)(jnp.array([-100.0, 2.0])).tolist()
        [-3.0, 2.0]

    Reference: `funcnet.functional.elu`, ``torch.nn.ELU``.
    """

    alpha: float = 1.0


class CELU(ActivationLayer, function=celu):
    """Rectify with a smooth exponential: ``x if x > 0 else alpha * (exp(x / alpha) - 1)``.

    Args:
        alpha: minus the value that the negative side saturates at; not zero.

    Example:
        >>> nn.CELU(3.0)(jnp.array([-100.0, 2.0])).tolist()
        [-3.0, 2.0]

    Reference: `funcnet.functional.celu`, ``torch.nn.CELU``.
    """

    alpha: float = 1.0


class SELU(ActivationLayer, function=selu):
    """Scale an ELU so that it keeps zero mean and unit variance from layer to layer.

    ``1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1))``

    Example:
        >>> round(float(nn.SELU()(jnp.array(1.0))), 4)
        1.0507

    Reference: `funcnet.functional.selu`, ``torch.nn.SELU``.
    """
