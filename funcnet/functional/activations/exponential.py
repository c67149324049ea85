"""Exponential linear units: the identity above zero, an exponential that levels off below."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats
from funcnet.functional.residuals import keeping_input

__all__ = ["celu", "elu", "selu"]


SELU_ALPHA = 1.6732632423543772848170429916717


SELU_SCALE = 1.0507009873554804934193349852946


@jax.custom_jvp
def _exp_less_one(x: Array) -> Array:
    """Return ``exp(x) - 1`` with the slope ``exp(x)``: one more than the value has no digits far out."""
    return jnp.expm1(x)


@_exp_less_one.defjvp
def _exp_less_one_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _exp_less_one(*primals), jnp.exp(primals[0]) * tangents[0]


@keeping_input
def _exponential_below_zero(x: Array, *, below: float, scale: float) -> Array:
    # The unused side is held at 0, so that exp cannot overflow into the gradient.
    return scale * jnp.where(x > 0, x, below * _exp_less_one(jnp.where(x > 0, 0, x)))


@keeping_input
def _celu(x: Array, *, alpha: float) -> Array:
    negative = jnp.where(x > 0, 0, x)
    value = alpha * _exp_less_one(negative * (1 / alpha))
    if x.dtype == jnp.float64:
        # PyTorch's gradient has alpha rounded to single precision in every dtype.
        rounded = alpha * _exp_less_one(negative * (1 / float(np.float32(alpha))))
        value = rounded + jax.lax.stop_gradient(value - rounded)
    return jnp.where(x > 0, x, value)


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
    (x,) = as_floats("elu", input=input)
    return _exponential_below_zero(x, below=alpha, scale=1.0)


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
        raise ValueError("alpha must not be zero, because the input is divided by it")
    (x,) = as_floats("celu", input=input)
    return _celu(x, alpha=alpha)


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
    (x,) = as_floats("selu", input=input)
    return _exponential_below_zero(x, below=SELU_ALPHA, scale=SELU_SCALE)
