"""Smooth activations as layers."""

from funcnet.functional.activations import smooth as activations_smooth
from funcnet.nn.activations.rectified import Activation

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "LogSigmoid",
    "Mish",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
]


class Sigmoid(Activation, function=activations_smooth.sigmoid):
    """Squash each element to ``(0, 1)``: ``1 / (1 + exp(-x))``.

    >>> float(nn.Sigmoid()(jnp.array(0.0)))
    0.5

    Reference: `funcnet.functional.sigmoid`, ``torch.nn.Sigmoid``.
    """


class Tanh(Activation, function=activations_smooth.tanh):
    """Squash each element to ``(-1, 1)``: the hyperbolic tangent.

    >>> float(nn.Tanh()(jnp.array(0.0)))
    0.0

    Reference: `funcnet.functional.tanh`, ``torch.nn.Tanh``.
    """


class Tanhshrink(Activation, function=activations_smooth.tanhshrink):
    """Take from each element its hyperbolic tangent: ``x - tanh(x)``.

    >>> float(nn.Tanhshrink()(jnp.array(0.0)))
    0.0

    Reference: `funcnet.functional.tanhshrink`, ``torch.nn.Tanhshrink``.
    """


class Softsign(Activation, function=activations_smooth.softsign):
    """Squash each element to ``(-1, 1)``: ``x / (1 + |x|)``.

    >>> nn.Softsign()(jnp.array([-1.0, 3.0])).tolist()
    [-0.5, 0.75]

    Reference: `funcnet.functional.softsign`, ``torch.nn.Softsign``.
    """


class Softplus(Activation, function=activations_smooth.softplus):
    """Smooth the rectifier: ``log(1 + exp(beta * x)) / beta``.

    Args:
        beta: how sharp the bend at zero is.
        threshold: where ``beta * x`` exceeds it, the result is ``x``.

    >>> round(float(nn.Softplus()(jnp.array(0.0))), 4)
    0.6931

    Reference: `funcnet.functional.softplus`, ``torch.nn.Softplus``.
    """

    beta: float = 1.0
    threshold: float = 20.0


class LogSigmoid(Activation, function=activations_smooth.logsigmoid):
    """Take the logarithm of the sigmoid: ``-log(1 + exp(-x))``.

    >>> float(nn.LogSigmoid()(jnp.array(-500.0)))
    -500.0

    Reference: `funcnet.functional.logsigmoid`, ``torch.nn.LogSigmoid``.
    """


class ELU(Activation, function=activations_smooth.elu):
    """Rectify with an exponential below zero: ``x if x > 0 else alpha * (exp(x) - 1)``.

    Args:
        alpha: minus the value that the negative side saturates at.

    >>> nn.ELU(3.0)(jnp.array([-100.0, 2.0])).tolist()
    [-3.0, 2.0]

    Reference: `funcnet.functional.elu`, ``torch.nn.ELU``.
    """

    alpha: float = 1.0


class CELU(Activation, function=activations_smooth.celu):
    """Rectify with a smooth exponential: ``x if x > 0 else alpha * (exp(x / alpha) - 1)``.

    Args:
        alpha: minus the value that the negative side saturates at; not zero.

    >>> nn.CELU(3.0)(jnp.array([-100.0, 2.0])).tolist()
    [-3.0, 2.0]

    Reference: `funcnet.functional.celu`, ``torch.nn.CELU``.
    """

    alpha: float = 1.0


class SELU(Activation, function=activations_smooth.selu):
    """Scale an ELU so that it keeps zero mean and unit variance from layer to layer.

    >>> round(float(nn.SELU()(jnp.array(1.0))), 4)
    1.0507

    Reference: `funcnet.functional.selu`, ``torch.nn.SELU``.
    """


class SiLU(Activation, function=activations_smooth.silu):
    """Gate each element with its own sigmoid: ``x * sigmoid(x)``, also called swish.

    >>> round(float(nn.SiLU()(jnp.array(1.0))), 4)
    0.7311

    Reference: `funcnet.functional.silu`, ``torch.nn.SiLU``.
    """


class Mish(Activation, function=activations_smooth.mish):
    """Gate each element with a softplus: ``x * tanh(log(1 + exp(x)))``.

    >>> round(float(nn.Mish()(jnp.array(1.0))), 4)
    0.8651

    Reference: `funcnet.functional.mish`, ``torch.nn.Mish``.
    """


class GELU(Activation, function=activations_smooth.gelu):
    """Gate each element with the normal distribution's cumulative function.

    Args:
        approximate: ``"none"`` for the error function, ``"tanh"`` for its approximation.

    >>> round(float(nn.GELU()(jnp.array(1.0))), 4)
    0.8413

    Reference: `funcnet.functional.gelu`, ``torch.nn.GELU``.
    """

    approximate: str = "none"


class GLU(Activation, function=activations_smooth.glu):
    """Split the input in two halves ``a, b`` and gate one by the other: ``a * sigmoid(b)``.

    Args:
        dim: axis to split; the result's is half as long.

    >>> nn.GLU()(jnp.array([3.0, 0.0])).tolist()
    [1.5]

    Reference: `funcnet.functional.glu`, ``torch.nn.GLU``.
    """

    dim: int = -1
