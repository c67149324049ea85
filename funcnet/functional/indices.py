"""Checks of class and row indices, where their values are known."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array

__all__ = ["check_indices", "check_integers"]


def check_integers(name: str, array: Array) -> None:
    """Raise ``TypeError`` unless an array holds integers.

    >>> from funcnet.functional.indices import check_integers
    >>> check_integers("input", jnp.array([1, 2]))
    """
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must hold integers; got {array.dtype}")


def check_indices(
    name: str, index: Array, size: int, *, lowest: int = 0, ignored: int | None = None
) -> None:
    """Raise ``IndexError`` if an index lies outside of its range, as far as values are known.

    A traced array has no values yet: inside ``jax.jit`` nothing is checked.

    >>> from funcnet.functional.indices import check_indices
    >>> check_indices("target", jnp.array([0, 2, -100]), 3, ignored=-100)
    """
    if isinstance(index, Tracer) or not index.is_fully_addressable:
        return
    values = np.asarray(index)
    values = values if ignored is None else values[values != ignored]
    if values.size and (values.min() < lowest or values.max() >= size):
        raise IndexError(
            f"{name} must lie in [{lowest}, {size - 1}]; got values from {values.min()} to "
            f"{values.max()} (inside jax.jit, where values are not known, the result is NaN)"
        )
