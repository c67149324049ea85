"""Initial values that are known: one number, or an array that is already there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Shape
from funcnet.nn.init.distribution import Distribution

__all__ = ["array", "constant", "ones", "zero_row", "zeros"]


def constant(val: float) -> Distribution:
    """Fill with one value.

    >>> nn.init.constant(0.25)(jax.random.key(0), (2,)).tolist()
    [0.25, 0.25]
    """
    return Distribution(draw_constant, (val,))


def draw_constant(key: Key, shape: tuple[int, ...], dtype: Any, val: float) -> Array:
    """Fill with one value."""
    return jnp.full(shape, val, dtype)


def ones() -> Distribution:
    """Fill with ones.

    >>> nn.init.ones() == nn.init.constant(1)
    True
    """
    return constant(1)


def zeros() -> Distribution:
    """Fill with zeros.

    >>> nn.init.zeros() == nn.init.constant(0)
    True
    """
    return constant(0)


def array(value: Any) -> Callable[..., Array]:
    """Start from values that are already there: pretrained weights, class weights.

    >>> nn.init.array(np.arange(3.0))(jax.random.key(0), (3,)).tolist()
    [0.0, 1.0, 2.0]
    """
    return _FromArray(value)


@dataclass(frozen=True, eq=False)
class _FromArray:
    """An initializer that returns one array; equal only to itself."""

    value: Any

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.value, dtype), tuple(shape))

    def __repr__(self) -> str:
        return f"array({jnp.shape(self.value)})"


def zero_row(base: Callable[..., Array], index: int) -> Distribution:
    """Draw from another initializer and set one row to zero: an embedding's padding vector.

    >>> nn.init.zero_row(nn.init.ones(), 1)(jax.random.key(0), (3, 1)).tolist()
    [[1.0], [0.0], [1.0]]
    """
    return Distribution(draw_zero_row, (base, index))


def draw_zero_row(
    key: Key, shape: tuple[int, ...], dtype: Any, base: Callable[..., Array], index: int
) -> Array:
    """Draw with another initializer and clear a row."""
    return base(key, shape, dtype).at[index].set(0)
