"""The sigmoid, the hyperbolic tangent and their smooth relatives."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats, is_float
from funcnet.functional.residuals import keeping_input
from funcnet.functional.subgradients import magnitude

__all__ = ["logsigmoid", "sigmoid", "softplus", "softsign", "tanh"]


# A slope such as 1 - tanh(x)² has no digits left where tanh is nearly 1. These are computed from x, and
# their own slopes are written with each other, so that derivatives of every order keep their digits.


@jax.custom_jvp
def _logistic(x: Array) -> Array:
    return jax.nn.sigmoid(x)


@jax.custom_jvp
def _logistic_slope(x: Array) -> Array:
    """Return ``σ(x) σ(-x)``."""
    small = jnp.exp(-jnp.abs(x))
    return small / jnp.square(1 + small)


@jax.custom_jvp
def _tanh(x: Array) -> Array:
    return jnp.tanh(x)


@_logistic.defjvp
def _logistic_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _logistic(*primals), _logistic_slope(*primals) * tangents[0]


@_logistic_slope.defjvp
def _logistic_slope_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    slope = _logistic_slope(*primals)
    return slope, -slope * _tanh(0.5 * primals[0]) * tangents[0]


@_tanh.defjvp
def _tanh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _tanh(*primals), 4 * _logistic_slope(2 * primals[0]) * tangents[0]


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
    (x,) = as_floats("sigmoid", complex=True, input=input)
    return _sigmoid(x)


@keeping_input
def _sigmoid(x: Array) -> Array:
    return _logistic(x) if is_float(x) else jax.nn.sigmoid(x)


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
    (x,) = as_floats("logsigmoid", input=input)
    return _logsigmoid(x)


@keeping_input
def _logsigmoid(x: Array) -> Array:
    return -jnp.logaddexp(-x, 0)


def tanh(input: Array) -> Array:
    """Map each element to ``(-1, 1)`` by the hyperbolic tangent: ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.tanh(jnp.array(0.0)))
        0.0

    Reference: ``torch.tanh``.
    """
    (x,) = as_floats("tanh", complex=True, input=input)
    return _any_tanh(x)


@keeping_input
def _any_tanh(x: Array) -> Array:
    return _tanh(x) if is_float(x) else jnp.tanh(x)


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
    (x,) = as_floats("softsign", complex=True, input=input)
    return _softsign(x)


@keeping_input
def _softsign(x: Array) -> Array:
    return x / (1 + magnitude(x)).astype(x.dtype)


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
    (x,) = as_floats("softplus", input=input)
    return _softplus(x, beta=beta, threshold=threshold)


@keeping_input
def _softplus(x: Array, *, beta: float, threshold: float) -> Array:
    scaled = x * beta
    return jnp.where(scaled > threshold, x, jnp.logaddexp(scaled, 0) / beta)
