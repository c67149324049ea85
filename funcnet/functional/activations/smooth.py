"""Activations that are smooth: sigmoids, exponentials, and products of an input with its gate."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "logsigmoid",
    "mish",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
]

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def sigmoid(input: Array) -> Array:
    """Squash each element to ``(0, 1)``: ``1 / (1 + exp(-x))``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.sigmoid(jnp.array(0.0)))
        0.5

    Reference: ``torch.sigmoid``.
    """
    return jax.nn.sigmoid(input)


def tanh(input: Array) -> Array:
    """Squash each element to ``(-1, 1)``: the hyperbolic tangent.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.tanh(jnp.array(0.0)))
        0.0

    Reference: ``torch.tanh``.
    """
    return jnp.tanh(input)


def tanhshrink(input: Array) -> Array:
    """Take from each element its hyperbolic tangent: ``x - tanh(x)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.tanhshrink(jnp.array(0.0)))
        0.0

    Reference: ``torch.nn.functional.tanhshrink``.
    """
    return input - jnp.tanh(input)


def softsign(input: Array) -> Array:
    """Squash each element to ``(-1, 1)``: ``x / (1 + |x|)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.softsign(jnp.array([-1.0, 3.0])).tolist()
        [-0.5, 0.75]

    Reference: ``torch.nn.functional.softsign``.
    """
    return input / (1 + jnp.abs(input))


def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Smooth the rectifier: ``log(1 + exp(beta * x)) / beta``.

    Args:
        input: array of any shape.
        beta: how sharp the bend at zero is.
        threshold: where ``beta * x`` exceeds it, the result is ``x``.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> round(float(F.softplus(jnp.array(0.0))), 4)
        0.6931

    Reference: Dugas et al., Incorporating Second-Order Functional Knowledge, 2001.
    """
    scaled = input * beta
    return jnp.where(scaled > threshold, input, jnp.logaddexp(scaled, 0) / beta)


def logsigmoid(input: Array) -> Array:
    """Take the logarithm of the sigmoid, without underflow: ``-log(1 + exp(-x))``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.logsigmoid(jnp.array(-500.0)))
        -500.0

    Reference: ``torch.nn.functional.logsigmoid``.
    """
    return -jnp.logaddexp(-input, 0)


def _exponential_below_zero(x: Array, scale: float) -> Array:
    # The unused side is held at 0, so that exp cannot overflow into the gradient.
    return jnp.where(x > 0, x, scale * jnp.expm1(jnp.where(x > 0, 0, x)))


def elu(input: Array, alpha: float = 1.0) -> Array:
    """Rectify with an exponential below zero: ``x if x > 0 else alpha * (exp(x) - 1)``.

    Args:
        input: array of any shape.
        alpha: minus the value that the negative side saturates at.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.elu(jnp.array([-100.0, 2.0]), alpha=3.0).tolist()
        [-3.0, 2.0]

    Reference: Clevert et al., Exponential Linear Units, 2015, https://arxiv.org/abs/1511.07289.
    """
    return _exponential_below_zero(input, alpha)


def celu(input: Array, alpha: float = 1.0) -> Array:
    """Rectify with a smooth exponential: ``x if x > 0 else alpha * (exp(x / alpha) - 1)``.

    Args:
        input: array of any shape.
        alpha: minus the value that the negative side saturates at; not zero.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``alpha`` is zero.

    Example:
        >>> F.celu(jnp.array([-100.0, 2.0]), alpha=3.0).tolist()
        [-3.0, 2.0]

    Reference: Barron, Continuously Differentiable Exponential Linear Units, 2017,
    https://arxiv.org/abs/1704.07483.
    """
    if alpha == 0:
        raise ValueError("alpha must not be zero, for the input is divided by it")
    negative = jnp.where(input > 0, 0, input)
    value = alpha * jnp.expm1(negative * (1 / alpha))
    if input.dtype == jnp.float64:
        # PyTorch's gradient has alpha rounded to single precision in every dtype.
        rounded = alpha * jnp.expm1(negative * (1 / float(np.float32(alpha))))
        value = rounded + jax.lax.stop_gradient(value - rounded)
    return jnp.where(input > 0, input, value)


def selu(input: Array) -> Array:
    """Scale an ELU so that it keeps zero mean and unit variance from layer to layer.

    ``1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1))``

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> [round(value, 4) for value in F.selu(jnp.array([-100.0, 1.0])).tolist()]
        [-1.7581, 1.0507]

    Reference: Klambauer et al., Self-Normalizing Neural Networks, 2017,
    https://arxiv.org/abs/1706.02515.
    """
    return SELU_SCALE * _exponential_below_zero(input, SELU_ALPHA)


def silu(input: Array) -> Array:
    """Gate each element with its own sigmoid: ``x * sigmoid(x)``, also called swish.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> round(float(F.silu(jnp.array(1.0))), 4)
        0.7311

    Reference: Elfwing et al., Sigmoid-Weighted Linear Units, 2017,
    https://arxiv.org/abs/1702.03118.
    """
    return input * jax.nn.sigmoid(input)


def mish(input: Array) -> Array:
    """Gate each element with a softplus: ``x * tanh(log(1 + exp(x)))``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> round(float(F.mish(jnp.array(1.0))), 4)
        0.8651

    Reference: Misra, Mish, 2019, https://arxiv.org/abs/1908.08681.
    """
    # tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2): one exponential. Past 20 the gate is 1.
    exponential = jnp.exp(jnp.minimum(input, 20))
    gate = exponential * (exponential + 2)
    return input * (gate / (gate + 2))


def gelu(input: Array, approximate: str = "none") -> Array:
    r"""Gate each element with the normal distribution's cumulative function: ``x * Φ(x)``.

    ``"none"``: ``x / 2 * (1 + erf(x / √2))``;
    ``"tanh"``: ``x / 2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))``.

    Args:
        input: array of any shape.
        approximate: ``"none"`` or ``"tanh"``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: another word for ``approximate``.

    Example:
        >>> round(float(F.gelu(jnp.array(1.0))), 4)
        0.8413

    Reference: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016,
    https://arxiv.org/abs/1606.08415.
    """
    check_choice("approximate", approximate, ("none", "tanh"))
    if approximate == "none":
        # erf rather than erfc: the compiler has a short polynomial for the one only.
        return 0.5 * input * (1 + jax.lax.erf(input * math.sqrt(0.5)))
    inner = math.sqrt(2 / math.pi) * input * (1 + 0.044715 * input * input)
    return 0.5 * input * (1 + jnp.tanh(inner))


def glu(input: Array, dim: int = -1) -> Array:
    """Split the input in two halves ``a, b`` and gate one by the other: ``a * sigmoid(b)``.

    Args:
        input: array whose axis ``dim`` has even length.
        dim: axis to split.

    Returns:
        An array whose axis ``dim`` is half as long.

    Raises:
        ValueError: the axis is odd.

    Example:
        >>> F.glu(jnp.array([3.0, 0.0])).tolist()
        [1.5]

    Reference: Dauphin et al., Language Modeling with Gated Convolutional Networks, 2016,
    https://arxiv.org/abs/1612.08083.
    """
    if input.ndim == 0 or input.shape[dim] % 2:
        raise ValueError(f"axis {dim} must be even to be halved; input has shape {input.shape}")
    value, gate = jnp.split(input, 2, axis=dim)
    return value * jax.nn.sigmoid(gate)
