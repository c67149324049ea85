"""How the initial distributions of `funcnet.nn.init` are drawn: ``(key, shape, dtype, *settings)``.

Sixteen-bit values are drawn in float32 and rounded, as sixteen bits leave a generator only a few
hundred distinct values. Shapes are those of PyTorch's weights, ``(out, in, *window)``.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key, Shape
from funcnet.core.dtypes import at_least_float32

__all__ = [
    "calculate_fan_in_and_fan_out",
    "constant",
    "dirac",
    "eye",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "sparse",
    "trunc_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zero_row",
]

Size = tuple[int, ...]


def calculate_fan_in_and_fan_out(shape: Shape) -> tuple[int, int]:
    """Count the inputs and outputs that meet in one element of a weight ``(out, in, *window)``.

    Raises:
        ValueError: the shape has fewer than two axes.

    >>> nn.init.calculate_fan_in_and_fan_out((8, 4, 3, 3))
    (36, 72)
    """
    if len(shape) < 2:
        raise ValueError(f"fans need a weight of at least two axes; got shape {tuple(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _wide(dtype: Any) -> Any:
    """Return the dtype to draw in; integers are refused, which would lose what is drawn."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(f"random numbers are drawn for floats; got {dtype}")
    return at_least_float32(dtype)


def uniform(key: Key, shape: Size, dtype: Any, a: float, b: float) -> Array:
    """Draw uniformly from ``[a, b)``."""
    return jax.random.uniform(key, shape, _wide(dtype), a, b).astype(dtype)


def normal(key: Key, shape: Size, dtype: Any, mean: float, std: float) -> Array:
    """Draw from the normal distribution."""
    return (jax.random.normal(key, shape, _wide(dtype)) * std + mean).astype(dtype)


def trunc_normal(
    key: Key, shape: Size, dtype: Any, mean: float, std: float, a: float, b: float
) -> Array:
    """Draw from the normal distribution between two bounds."""
    low, high, wide = (a - mean) / std, (b - mean) / std, _wide(dtype)
    if low < 0 < high:
        draws = jax.random.truncated_normal(key, low, high, shape, wide)
    else:
        # One tail only: invert the distribution on the left side, where small probabilities keep
        # their digits, and mirror the draws if the tail is on the right.
        side = 1.0 if high <= 0 else -1.0
        left, right = sorted((side * low, side * high))
        below = [0.5 * math.erfc(-bound / math.sqrt(2.0)) for bound in (left, right)]
        chance = jax.random.uniform(key, shape, wide, *below)
        draws = side * jnp.clip(jax.scipy.special.ndtri(chance), left, right)
    return jnp.clip(draws * std + mean, a, b).astype(dtype)


def constant(key: Key, shape: Size, dtype: Any, val: float) -> Array:
    """Fill with one value."""
    return jnp.full(shape, val, dtype)


def _xavier_spread(shape: Size, gain: float) -> float:
    return gain * math.sqrt(2.0 / max(1, sum(calculate_fan_in_and_fan_out(shape))))


def _kaiming_spread(shape: Size, gain: float, mode: str) -> float:
    fan_in, fan_out = calculate_fan_in_and_fan_out(shape)
    return gain / math.sqrt(max(1, fan_in if mode == "fan_in" else fan_out))


def _centred_uniform(key: Key, shape: Size, dtype: Any, spread: float) -> Array:
    bound = math.sqrt(3.0) * spread
    return uniform(key, shape, dtype, -bound, bound)


def xavier_uniform(key: Key, shape: Size, dtype: Any, gain: float) -> Array:
    """Draw uniformly, scaled by the mean of the fans."""
    return _centred_uniform(key, shape, dtype, _xavier_spread(shape, gain))


def xavier_normal(key: Key, shape: Size, dtype: Any, gain: float) -> Array:
    """Draw normally, scaled by the mean of the fans."""
    return normal(key, shape, dtype, 0.0, _xavier_spread(shape, gain))


def kaiming_uniform(key: Key, shape: Size, dtype: Any, gain: float, mode: str) -> Array:
    """Draw uniformly, scaled by one fan."""
    return _centred_uniform(key, shape, dtype, _kaiming_spread(shape, gain, mode))


def kaiming_normal(key: Key, shape: Size, dtype: Any, gain: float, mode: str) -> Array:
    """Draw normally, scaled by one fan."""
    return normal(key, shape, dtype, 0.0, _kaiming_spread(shape, gain, mode))


def eye(key: Key, shape: Size, dtype: Any) -> Array:
    """Fill a matrix with the identity."""
    if len(shape) != 2:
        raise ValueError(f"eye needs a shape of two axes; got {shape}")
    return jnp.eye(*shape, dtype=dtype)


def dirac(key: Key, shape: Size, dtype: Any, groups: int) -> Array:
    """Fill a weight with the identity in the middle of each window."""
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"dirac needs a shape of three to five axes; got {shape}")
    if shape[0] % groups:
        raise ValueError(f"the first axis must be divisible by groups={groups}; got {shape}")
    outputs = shape[0] // groups
    kept = np.arange(min(outputs, shape[1]))
    rows = (np.arange(groups)[:, None] * outputs + kept).ravel()
    centre = tuple(size // 2 for size in shape[2:])
    return jnp.zeros(shape, dtype).at[(rows, np.tile(kept, groups), *centre)].set(1)


def orthogonal(key: Key, shape: Size, dtype: Any, gain: float) -> Array:
    """Draw a matrix with orthonormal rows or columns."""
    if len(shape) < 2:
        raise ValueError(f"orthogonal needs a shape of at least two axes; got {shape}")
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    rows, columns = shape[0], math.prod(shape[1:])
    matrix = jax.random.normal(key, (max(rows, columns), min(rows, columns)), _wide(dtype))
    q, r = jnp.linalg.qr(matrix)
    q = q * jnp.sign(jnp.diagonal(r))  # makes the draw uniform over orthogonal matrices
    return (gain * (q.T if rows < columns else q)).reshape(shape).astype(dtype)


def sparse(key: Key, shape: Size, dtype: Any, sparsity: float, std: float) -> Array:
    """Draw a normal matrix with zeros in each column."""
    if len(shape) != 2:
        raise ValueError(f"sparse needs a shape of two axes; got {shape}")
    rows, columns = shape
    key_values, key_order = jax.random.split(key)
    order = jnp.broadcast_to(jnp.arange(rows)[:, None], (rows, columns))
    order = jax.random.permutation(key_order, order, axis=0, independent=True)
    values = normal(key_values, shape, dtype, 0.0, std)
    return jnp.where(order < math.ceil(sparsity * rows), jnp.zeros((), dtype), values)


def zero_row(key: Key, shape: Size, dtype: Any, base: Callable[..., Array], index: int) -> Array:
    """Draw with another initializer and clear a row."""
    return base(key, shape, dtype).at[index].set(0)
