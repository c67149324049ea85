"""Activations made of straight pieces: the rectifiers, clips and shrinkages.

At a kink the gradient is PyTorch's: that of the piece which the definition puts the kink in.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.keys import require_key

__all__ = [
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "softshrink",
    "threshold",
]


def relu(input: Array) -> Array:
    """Rectify each element: ``max(x, 0)``, with gradient 0 at 0.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 2.0]

    Reference: Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, 2010.
    """
    return jnp.where(input <= 0, 0, input)


def relu6(input: Array) -> Array:
    """Clip each element to ``[0, 6]``: ``min(max(x, 0), 6)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.relu6(jnp.array([-1.0, 3.0, 8.0])).tolist()
        [0.0, 3.0, 6.0]

    Reference: Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861.
    """
    return hardtanh(input, 0, 6)


def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Clip each element to ``[min_val, max_val]``; the gradient at both ends is 0.

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
    return jnp.where(input <= min_val, min_val, jnp.where(input >= max_val, max_val, input))


def threshold(input: Array, threshold: float, value: float) -> Array:
    """Keep the elements above a threshold and set the others to a value.

    Args:
        input: array of any shape.
        threshold: elements ``x <= threshold`` are replaced.
        value: what replaces them.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.threshold(jnp.array([0.5, 1.0, 2.0]), 1.0, -7.0).tolist()
        [-7.0, -7.0, 2.0]

    Reference: ``torch.nn.functional.threshold``.
    """
    return jnp.where(input <= threshold, value, input)


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
    return jnp.where(input > 0, input, input * negative_slope)


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
    if weight.ndim > 1:
        raise ValueError(f"weight must have shape () or (C,); got {weight.shape}")
    if weight.size == 1:
        slope = weight.reshape(())
    else:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0 or channels != weight.size:
            raise ValueError(
                f"weight has {weight.size} slopes, but input of shape {input.shape} has "
                f"{channels} channels: give one slope, or one for each channel on axis 1"
            )
        slope = weight.reshape((-1,) + (1,) * (input.ndim - 2))
    return jnp.where(input > 0, input, input * slope.astype(input.dtype))


def rrelu(
    input: Array,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    key: Key | None = None,
) -> Array:
    """Rectify with a random slope below zero, drawn for each element from ``U(lower, upper)``.

    Outside training the slope is the mean of the two bounds.

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
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slope = jax.random.uniform(
        require_key("rrelu", key), input.shape, input.dtype, minval=lower, maxval=upper
    )
    return jnp.where(input <= 0, input * slope, input)


def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    """Set the elements between ``-lambd`` and ``lambd`` to zero and keep the others.

    Args:
        input: array of any shape.
        lambd: half-width of the interval, which includes its ends.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.hardshrink(jnp.array([-1.0, 0.25, 2.0])).tolist()
        [-1.0, 0.0, 2.0]

    Reference: ``torch.nn.functional.hardshrink``.
    """
    return jnp.where((input >= -lambd) & (input <= lambd), 0, input)


def softshrink(input: Array, lambd: float = 0.5) -> Array:
    """Move each element towards zero by ``lambd``, and to zero those nearer than that.

    Args:
        input: array of any shape.
        lambd: how far to move; not negative.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``lambd`` is negative.

    Example:
        >>> F.softshrink(jnp.array([-1.0, 0.25, 2.0])).tolist()
        [-0.5, 0.0, 1.5]

    Reference: Donoho, De-Noising by Soft-Thresholding, 1995.
    """
    if lambd < 0:
        raise ValueError(f"lambd must not be negative; got {lambd}")
    shrunk = jnp.where(input > lambd, input - lambd, input + lambd)
    return jnp.where((input >= -lambd) & (input <= lambd), 0, shrunk)


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
    line = input / 6 + 0.5
    if input.dtype == jnp.float64:
        # PyTorch's gradient has 1/6 rounded to single precision in every dtype.
        rounded = input * float(np.float32(1 / 6))
        line = rounded + jax.lax.stop_gradient(line - rounded)
    return jnp.where(input <= -3, 0, jnp.where(input >= 3, 1, line))


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
    gate = jnp.where(input <= -3, 0, jnp.where(input >= 3, 1, input / 6 + 0.5))
    return input * gate
