"""Initial values that are known: one number, or an array that is already there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key, Shape
from funcnet.module.initial_values.recipes import FlatDraw, Recipe, TellsRecipe, given, repeated
from funcnet.nn.init.distribution import Distribution

__all__ = ["array", "constant", "ones", "zero_row", "zeros"]


def constant(val: float) -> Distribution:
    """Fill with one value.

    >>> nn.init.constant(0.25)(jax.random.key(0), (2,)).tolist()
    [0.25, 0.25]
    """
    return Distribution(draw_constant, (val,), tell_constant)


def draw_constant(key: Key, shape: tuple[int, ...], dtype: Any, val: float) -> Array:
    """Fill with one value."""
    return jnp.full(shape, val, dtype)


def tell_constant(shape: tuple[int, ...], dtype: Any, val: float) -> Recipe | None:
    """Tell of one value everywhere, where JAX and NumPy make the same of it."""
    return repeated(val, dtype)


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
class _FromArray(TellsRecipe):
    """An initializer that returns one array; equal only to itself."""

    value: Any

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.value, dtype), tuple(shape))

    def recipe(self, shape: tuple[int, ...], dtype: Any) -> Recipe | None:
        if len(jnp.shape(self.value)) > len(shape):
            return None  # it fits no layer, though it might a stack of them: a draw says so
        return given(self.value, dtype)

    def __repr__(self) -> str:
        return f"array({jnp.shape(self.value)})"


def zero_row(base: Callable[..., Array], index: int) -> Distribution:
    """Draw from another initializer and set one row to zero: an embedding's padding vector.

    >>> nn.init.zero_row(nn.init.ones(), 1)(jax.random.key(0), (3, 1)).tolist()
    [[1.0], [0.0], [1.0]]
    """
    return Distribution(draw_zero_row, (base, index), tell_zero_row)


def draw_zero_row(
    key: Key, shape: tuple[int, ...], dtype: Any, base: Callable[..., Array], index: int
) -> Array:
    """Draw with another initializer and clear a row."""
    return base(key, shape, dtype).at[index].set(0)


def tell_zero_row(
    shape: tuple[int, ...], dtype: Any, base: Callable[..., Array], index: int
) -> Recipe | None:
    """Tell of another initializer's draw that is changed in the end."""
    if not shape or not -shape[0] <= index < shape[0]:
        return None
    drawn = base.recipe(shape, dtype) if isinstance(base, TellsRecipe) else None
    return drawn.then(partial(_clear_row, index)) if isinstance(drawn, FlatDraw) else None


def _clear_row(index: int, values: np.ndarray) -> None:
    values[index] = 0
