"""Activations with hard corners: clips, and straight lines that approximate a sigmoid or SiLU.

At a kink the gradient is PyTorch's: that of the piece which the definition puts the kink in.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats
from funcnet.functional.residuals import keeping_arguments, keeping_input

__all__ = ["hardsigmoid", "hardswish", "hardtanh"]


def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Clip each element to an interval: ``min(max(x, min_val), max_val)``.

    The gradient at both ends is 0.

    Args:
        input: array of any shape.
        min_val: lower end of the linear region.
        max_val: upper end of the linear region.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: the lower end lies above the upper one.

    Example:
        >>> F.hardtanh(jnp.array([-2.0, 0.5, 2.0])).tolist()
        [-1.0, 0.5, 1.0]

    Reference: ``torch.nn.functional.hardtanh``.
    """
    if min_val > max_val:
        raise ValueError(f"min_val must not exceed max_val; got {min_val} and {max_val}")
    (x,) = as_floats("hardtanh", input=input)
    return clip(x, min_val, max_val)


@keeping_arguments
def clip(x: Array, low: float, high: float) -> Array:
    """Clip each element to ``[low, high]``, with gradient 0 at both ends; integers stay integers."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def hardsigmoid(input: Array) -> Array:
    """Approximate the sigmoid by straight lines: ``clip(x / 6 + 1/2, 0, 1)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.hardsigmoid(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]

    Reference: Courbariaux et al., BinaryConnect, 2015, https://arxiv.org/abs/1511.00363.
    """
    (x,) = as_floats("hardsigmoid", input=input)
    return _hardsigmoid(x)


@keeping_input
def _hardsigmoid(x: Array) -> Array:
    line = x / 6 + 0.5
    if x.dtype == jnp.float64:
        # PyTorch's gradient has 1/6 rounded to single precision in every dtype.
        rounded = x * float(np.float32(1 / 6))
        line = rounded + jax.lax.stop_gradient(line - rounded)
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, line))


def hardswish(input: Array) -> Array:
    """Approximate SiLU by pieces: ``x * hardsigmoid(x)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.hardswish(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [-0.0, 0.0, 4.0]

    Reference: Howard et al., Searching for MobileNetV3, 2019, https://arxiv.org/abs/1905.02244.
    """
    (x,) = as_floats("hardswish", input=input)
    return _hardswish(x)


@keeping_input
def _hardswish(x: Array) -> Array:
    # an infinity has no part in the parabola's slope; NaN is in the middle, and stays
    middle = jnp.where(jnp.abs(x) >= 3, 0, x)
    parabola = middle * (middle / 6 + 0.5)
    return jnp.where(x <= -3, -0.0, jnp.where(x >= 3, x, parabola))
