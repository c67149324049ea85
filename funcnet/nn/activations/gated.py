"""Products of an input with a gate, as layers."""

from funcnet.functional.activations.gated import gelu, glu, mish, silu
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["GELU", "GLU", "Mish", "SiLU"]


class SiLU(ActivationLayer, function=silu):
    """Gate each element with its own sigmoid: ``x * sigmoid(x)``, also called swish.

    Example:
        >>> round(float(nn.SiLU()(jnp.array(1.0))), 4)
        0.7311

    Reference: `funcnet.functional.silu`, ``torch.nn.SiLU``.
    """


class Mish(ActivationLayer, function=mish):
    """Gate each element with a softplus: ``x * tanh(log(1 + exp(x)))``.

    Example:
        >>> round(float(nn.Mish()(jnp.array(1.0))), 4)
        0.8651

    Reference: `funcnet.functional.mish`, ``torch.nn.Mish``.
    """


class GELU(ActivationLayer, function=gelu):
    """Gate each element with the normal distribution's cumulative function: ``x * Φ(x)``.

    Args:
        approximate: ``"none"`` for the error function, ``"tanh"`` for its approximation.

    Example:
        >>> round(float(nn.GELU()(jnp.array(1.0))), 4)
        0.8413

    Reference: `funcnet.functional.gelu`, ``torch.nn.GELU``.
    """

    approximate: str = "none"


class GLU(ActivationLayer, function=glu):
    """Split the input in two halves ``a, b`` and gate one by the other: ``a * sigmoid(b)``.

    Args:
        dim: axis to split; the result's is half as long.

    Example:
        >>> nn.GLU()(jnp.array([3.0, 0.0])).tolist()
        [1.5]

    Reference: `funcnet.functional.glu`, ``torch.nn.GLU``.
    """

    dim: int = -1
