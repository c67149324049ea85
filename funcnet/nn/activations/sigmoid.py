"""The sigmoid, the hyperbolic tangent and their smooth relatives, as layers."""

from funcnet.functional.activations.sigmoid import logsigmoid, sigmoid, softplus, softsign, tanh
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["LogSigmoid", "Sigmoid", "Softplus", "Softsign", "Tanh"]


class Sigmoid(ActivationLayer, function=sigmoid):
    """Map each element to ``(0, 1)``: ``1 / (1 + exp(-x))``.

    Example:
        >>> float(nn.Sigmoid()(jnp.array(0.0)))
        0.5

    Reference: `funcnet.functional.sigmoid`, ``torch.nn.Sigmoid``.
    """


class LogSigmoid(ActivationLayer, function=logsigmoid):
    """Take the logarithm of the sigmoid: ``-log(1 + exp(-x))``.

    Example:
        >>> float(nn.LogSigmoid()(jnp.array(-500.0)))
        -500.0

    Reference: `funcnet.functional.logsigmoid`, ``torch.nn.LogSigmoid``.
    """


class Tanh(ActivationLayer, function=tanh):
    """Map each element to ``(-1, 1)`` by the hyperbolic tangent: ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Example:
        >>> float(nn.Tanh()(jnp.array(0.0)))
        0.0

    Reference: `funcnet.functional.tanh`, ``torch.nn.Tanh``.
    """


class Softsign(ActivationLayer, function=softsign):
    """Map each element to ``(-1, 1)``: ``x / (1 + |x|)``.

    Example:
        >>> nn.Softsign()(jnp.array([-1.0, 3.0])).tolist()
        [-0.5, 0.75]

    Reference: `funcnet.functional.softsign`, ``torch.nn.Softsign``.
    """


class Softplus(ActivationLayer, function=softplus):
    """Approximate the rectifier by a smooth curve: ``log(1 + exp(beta * x)) / beta``.

    Args:
        beta: how sharp the bend at zero is.
        threshold: where ``beta * x`` exceeds it, the result is ``x``.

    Example:
        >>> round(float(nn.Softplus()(jnp.array(0.0))), 4)
        0.6931

    Reference: `funcnet.functional.softplus`, ``torch.nn.Softplus``.
    """

    beta: float = 1.0
    threshold: float = 20.0
