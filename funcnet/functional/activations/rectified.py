"""Rectifiers: zero, or a small slope, below a threshold.

Those that keep or replace elements whole (``relu``, ``relu6``, ``threshold``) take integers too and leave
them integers; the others multiply, and refuse them.

At a kink the gradient is PyTorch's: that of the piece which the definition puts the kink in.
"""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.dtypes import as_floats, at_least_float32, widened, widest
from funcnet.core.keys import require_key
from funcnet.functional.activations.hard import clip
from funcnet.functional.residuals import keeping_arguments, keeping_mask

__all__ = ["leaky_relu", "prelu", "relu", "relu6", "rrelu", "threshold"]


def relu(input: Array) -> Array:
    """Rectify each element: ``max(x, 0)``, with gradient 0 at 0.

    Args:
        input: array of floats or integers, of any shape.

    Returns:
        An array of the same shape and dtype.

    Raises:
        TypeError: the input holds booleans or complex numbers.

    Example:
        >>> F.relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 2.0]

    Reference: Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, 2010.
    """
    x = _real_numbers("relu", input)
    return keeping_mask(x <= 0, 0, x)


def relu6(input: Array) -> Array:
    """Clip each element to ``[0, 6]``: ``min(max(x, 0), 6)``.

    Args:
        input: array of floats or integers, of any shape.

    Returns:
        An array of the same shape and dtype.

    Raises:
        TypeError: the input holds booleans or complex numbers.

    Example:
        >>> F.relu6(jnp.array([-1.0, 3.0, 8.0])).tolist()
        [0.0, 3.0, 6.0]

    Reference: Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861.
    """
    return clip(_real_numbers("relu6", input), 0, 6)


def threshold(input: Array, threshold: float, value: float) -> Array:
    """Keep the elements above a threshold and set the others to a value.

    ``x if x > threshold else value``

    Args:
        input: array of floats or integers, of any shape.
        threshold: elements ``x <= threshold`` are replaced.
        value: what replaces them; a whole number if the input holds integers.

    Returns:
        An array of the same shape and dtype.

    Raises:
        TypeError: the input holds booleans or complex numbers, or integers that the value is not.

    Example:
        >>> F.threshold(jnp.array([0.5, 1.0, 2.0]), 1.0, -7.0).tolist()
        [-7.0, -7.0, 2.0]

    Reference: ``torch.nn.functional.threshold``.
    """
    x = _real_numbers("threshold", input)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        if not float(value).is_integer():
            raise TypeError(
                f"threshold keeps the dtype {x.dtype.name} of its input, and {value} is no integer: "
                "write input.astype(jnp.float32)"
            )
        threshold = math.floor(threshold)  # the same for integers, which are not compared as floats
    return keeping_mask(x <= threshold, jnp.asarray(value, x.dtype), x)


def _real_numbers(function: str, input: Array) -> Array:
    x = jnp.asarray(input)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise TypeError(
            f"{function} takes floating-point numbers or integers; input has dtype {x.dtype.name}"
        )
    return x


def leaky_relu(input: Array, negative_slope: float = 0.01) -> Array:
    """Rectify with a small slope below zero: ``x if x > 0 else negative_slope * x``.

    Args:
        input: array of any shape.
        negative_slope: slope of the negative side.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.leaky_relu(jnp.array([-10.0, 2.0]), 0.5).tolist()
        [-5.0, 2.0]

    Reference: Maas, Hannun and Ng, Rectifier Nonlinearities Improve Acoustic Models, 2013.
    """
    dtype, x = widened("leaky_relu", input=input)
    return jnp.where(x > 0, x, x * negative_slope).astype(dtype)


def prelu(input: Array, weight: Array) -> Array:
    """Rectify with a learned slope below zero: ``x if x > 0 else weight * x``.

    Args:
        input: array of any shape; axis 1 holds the channels.
        weight: one slope (shape ``()`` or ``(1,)``), or one for each channel (shape ``(C,)``).

    Returns:
        An array of the same shape and dtype as the input.

    Raises:
        ValueError: there are several slopes, and not as many as channels.

    Example:
        >>> F.prelu(jnp.array([[-1.0, -1.0]]), jnp.array([0.25, 0.5])).tolist()
        [[-0.25, -0.5]]

    Reference: He et al., Delving Deep into Rectifiers, 2015, https://arxiv.org/abs/1502.01852.
    """
    (x,) = as_floats("prelu", input=input)
    if weight.ndim > 1:
        raise ValueError(f"weight must have shape () or (C,); got {weight.shape}")
    if weight.size == 1:
        slope = weight.reshape(())
    else:
        channels = x.shape[1] if x.ndim > 1 else 1
        if x.ndim == 0 or channels != weight.size:
            raise ValueError(
                f"weight has {weight.size} slopes, but input of shape {x.shape} has "
                f"{channels} channels: give one slope, or one for each channel on axis 1"
            )
        slope = weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return _prelu(x, slope)


@keeping_arguments
def _prelu(x: Array, slope: Array) -> Array:
    wide = widest(at_least_float32(x.dtype), slope.dtype)
    # The slope's gradient is a sum over the batch, which an infinity above zero is no part of.
    below = jnp.where(x > 0, 0, x).astype(wide) * slope.astype(wide)
    return jnp.where(x > 0, x.astype(wide), below).astype(x.dtype)


def rrelu(
    input: Array,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    key: Key | None = None,
) -> Array:
    """Rectify with a random slope below zero: ``x if x > 0 else a x``, where ``a`` comes from ``U(lower, upper)``.

    It is drawn for each element. Outside training it is the mean of the two bounds.

    Args:
        input: array of any shape.
        lower: least slope.
        upper: greatest slope.
        training: draw slopes, rather than take their mean.
        key: random key; needed in training only.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: the lower bound lies above the upper one.
        MissingKeyError: training, and no key.

    Example:
        >>> F.rrelu(jnp.array([-8.0, 1.0]), 0.25, 0.75).tolist()
        [-4.0, 1.0]

    Reference: Xu et al., Empirical Evaluation of Rectified Activations, 2015,
    https://arxiv.org/abs/1505.00853.
    """
    if lower > upper:
        raise ValueError(f"lower must not exceed upper; got {lower} and {upper}")
    (x,) = as_floats("rrelu", input=input)
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    key, dtype = require_key("rrelu", key, like=x), at_least_float32(x.dtype)
    slope = jax.random.uniform(key, x.shape, dtype, minval=lower, maxval=upper)
    # a factor of one above zero, so that the gradient keeps the factors alone
    return (x.astype(dtype) * jnp.where(x <= 0, slope, 1)).astype(x.dtype)
