"""Shrinkages as layers."""

from funcnet.functional.activations.shrinkage import hardshrink, softshrink, tanhshrink
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["Hardshrink", "Softshrink", "Tanhshrink"]


class Hardshrink(ActivationLayer, function=hardshrink):
    """Set the elements between ``-lambd`` and ``lambd`` to zero and keep the others.

    ``x if |x| > lambd else 0``

    Args:
        lambd: half-width of the interval, which includes its ends.

    Example:
        >>> nn.Hardshrink()(jnp.array([0.25, 2.0])).tolist()
        [0.0, 2.0]

    Reference: `funcnet.functional.hardshrink`, ``torch.nn.Hardshrink``.
    """

    lambd: float = 0.5


class Softshrink(ActivationLayer, function=softshrink):
    """Move each element towards zero by ``lambd``, and to zero those nearer than that.

    ``sign(x) max(|x| - lambd, 0)``

    Args:
        lambd: how far to move; not negative.

    Example:
        >>> nn.Softshrink()(jnp.array([0.25, 2.0])).tolist()
        [0.0, 1.5]

    Reference: `funcnet.functional.softshrink`, ``torch.nn.Softshrink``.
    """

    lambd: float = 0.5


class Tanhshrink(ActivationLayer, function=tanhshrink):
    """Take from each element its hyperbolic tangent: ``x - tanh(x)``.

    Example:
        >>> float(nn.Tanhshrink()(jnp.array(0.0)))
        0.0

    Reference: `funcnet.functional.tanhshrink`, ``torch.nn.Tanhshrink``.
    """
