"""The sigmoid, the hyperbolic tangent and their smooth relatives."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["logsigmoid", "sigmoid", "softplus", "softsign", "tanh"]


def sigmoid(input: Array) -> Array:
    """Map each element to ``(0, 1)``: ``1 / (1 + exp(-x))``.

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


def tanh(input: Array) -> Array:
    """Map each element to ``(-1, 1)``: the hyperbolic tangent.

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


def softsign(input: Array) -> Array:
    """Map each element to ``(-1, 1)``: ``x / (1 + |x|)``.

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
    """Approximate the rectifier by a smooth curve: ``log(1 + exp(beta * x)) / beta``.

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
