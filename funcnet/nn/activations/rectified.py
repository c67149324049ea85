"""Rectifiers as layers."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_positive
from funcnet.functional.activations.rectified import (
    leaky_relu,
    prelu,
    relu,
    relu6,
    rrelu,
    threshold,
)
from funcnet.module import Module, Parameter
from funcnet.nn.activations.base import ActivationLayer
from funcnet.nn.init import constant

__all__ = ["LeakyReLU", "PReLU", "RReLU", "ReLU", "ReLU6", "Threshold"]


class ReLU(ActivationLayer, function=relu):
    """Rectify each element: ``max(x, 0)``, with gradient 0 at 0.

    Example:
        >>> nn.ReLU()(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]

    Reference: `funcnet.functional.relu`, ``torch.nn.ReLU``.
    """


class ReLU6(ActivationLayer, function=relu6):
    """Clip each element to ``[0, 6]``: ``min(max(x, 0), 6)``.

    Example:
        >>> nn.ReLU6()(jnp.array([-1.0, 8.0])).tolist()
        [0.0, 6.0]

    Reference: `funcnet.functional.relu6`, ``torch.nn.ReLU6``.
    """


class Threshold(ActivationLayer, function=threshold):
    """Keep the elements above a threshold and set the others to a value.

    ``x if x > threshold else value``

    Args:
        threshold: elements ``x <= threshold`` are replaced.
        value: what replaces them.

    Example:
        >>> nn.Threshold(1.0, -7.0)(jnp.array([0.5, 2.0])).tolist()
        [-7.0, 2.0]

    Reference: `funcnet.functional.threshold`, ``torch.nn.Threshold``.
    """

    threshold: float
    value: float


class LeakyReLU(ActivationLayer, function=leaky_relu):
    """Rectify with a small slope below zero: ``x if x > 0 else negative_slope * x``.

    Args:
        negative_slope: slope of the negative side.

    Example:
        >>> nn.LeakyReLU(0.5)(jnp.array([-10.0, 2.0])).tolist()
        [-5.0, 2.0]

    Reference: `funcnet.functional.leaky_relu`, ``torch.nn.LeakyReLU``.
    """

    negative_slope: float = 0.01


class PReLU(Module):
    """Rectify with learned slopes below zero: ``x if x > 0 else weight * x``.

    Args:
        num_parameters: one slope for all, or one for each channel (axis 1).
        init: where the slopes start.
        dtype: of the slopes.

    Attributes:
        weight: ``(num_parameters,)``.

    Raises:
        ValueError: ``num_parameters`` is not positive.

    Example:
        >>> net = fn.functionalize(nn.PReLU())
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.array([-4.0, 1.0]))[0].tolist()
        [-1.0, 1.0]

    Reference: `funcnet.functional.prelu`, ``torch.nn.PReLU``.
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: DType = jnp.float32
    ) -> None:
        check_positive("num_parameters", num_parameters)
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter((num_parameters,), constant(init), dtype)

    def __call__(self, input: Array) -> Array:
        """Rectify an array."""
        return prelu(input, self.weight)


class RReLU(Module):
    """Rectify with a slope below zero that is random in training, and its mean otherwise.

    ``x if x > 0 else a x``, where ``a`` comes from ``U(lower, upper)``.

    Args:
        lower: least slope.
        upper: greatest slope.

    Example:
        >>> fn.bind(nn.RReLU(0.25, 0.75), {}, {})(-jnp.ones(1)).tolist()
        [-0.5]

    Reference: `funcnet.functional.rrelu`, ``torch.nn.RReLU``.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower = lower
        self.upper = upper

    def __call__(self, input: Array) -> Array:
        """Rectify an array; draws a key in training."""
        key = self.next_key() if self.training else None
        return rrelu(input, self.lower, self.upper, self.training, key=key)
