"""What an initializer may tell about the values it makes, so that they need no program for each shape."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array

__all__ = ["FLOATS", "FlatDraw", "KnownValues", "Recipe", "TellsRecipe", "given", "repeated"]


@dataclass(frozen=True)
class FlatDraw:
    """Random numbers of which each depends on the key and on its place in the flattened array alone.

    So the values of an array of any shape are those of a long flat one, cut and reshaped.

    Attributes:
        sample: ``sample(key, shape, dtype, *scales) -> array``, which draws 32 bits for each element, once;
            comparable by value, for a program is compiled for each that differs.
        scales: numbers that differ from array to array, such as bounds; they cost no program.
        edit: changes the finished array in place, or None.
    """

    sample: Callable[..., Array]
    scales: tuple[float, ...] = ()
    edit: Callable[[np.ndarray], None] | None = None

    def then(self, edit: Callable[[np.ndarray], None]) -> "FlatDraw":
        """Return the same draw with one more change in the end."""
        first = self.edit
        if first is None:
            return replace(self, edit=edit)

        def both(values: np.ndarray) -> None:
            first(values)
            edit(values)

        return replace(self, edit=both)


@dataclass(frozen=True)
class KnownValues:
    """Values that no key has a part in: an array that is as large as what it fills, or is repeated over it."""

    values: np.ndarray


Recipe: TypeAlias = FlatDraw | KnownValues
"""All that can be told about how values are made."""


class TellsRecipe:
    """Base of initializers that can tell how they make their values."""

    def recipe(self, shape: tuple[int, ...], dtype: Any) -> Recipe | None:
        """Return how the values are made; None where they need a program of their own."""
        return None


def repeated(value: Any, dtype: Any) -> KnownValues | None:
    """Tell of one number everywhere, if it is in the dtype what JAX makes of it.

    >>> from funcnet.module.initial_values.recipes import repeated
    >>> repeated(0.5, jnp.dtype(jnp.float32)).values, repeated(0.5, jnp.dtype(jnp.int32))
    (array(0.5, dtype=float32), None)
    """
    exact = type(value) is int or (type(value) is float and dtype in FLOATS)
    if exact and dtype in FLOATS | _COUNTS and abs(value) < _EXACT:
        # at once: by way of float32 a number between two of 16 bits would be rounded twice
        return KnownValues(np.asarray(value, dtype))
    return None


def given(value: Any, dtype: Any) -> KnownValues | None:
    """Tell of an array that is already there, if its numbers can be read here and now.

    >>> from funcnet.module.initial_values.recipes import given
    >>> given([1, 2], jnp.dtype(jnp.float32)).values
    array([1., 2.], dtype=float32)
    """
    if isinstance(value, jax.core.Tracer) or not getattr(value, "is_fully_addressable", True):
        return None
    return KnownValues(np.asarray(jnp.asarray(value, dtype)))


FLOATS = frozenset(map(jnp.dtype, (jnp.float32, jnp.bfloat16, jnp.float16)))
"""The dtypes that are drawn with 32 bits for each number."""

_COUNTS = frozenset(map(jnp.dtype, (jnp.int32, jnp.uint32)))
_EXACT = 2**24  # below, whole numbers are exact in float32, and floats do not become infinite
