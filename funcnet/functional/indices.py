"""Checks of class and row indices, where their values are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array

__all__ = ["check_indices", "check_integers", "known_values"]


def known_values(value: Any) -> np.ndarray | None:
    """Return the values of an array if they are known while tracing, and ``None`` if they are not.

    Numbers, lists and NumPy arrays are known, and so are arrays of JAX that a traced function closes
    over. Ask before any ``jnp.asarray``, which makes all of them traced.

    >>> from funcnet.functional.indices import known_values
    >>> known_values([1, 2]).tolist(), jax.jit(lambda x: str(known_values(x) is None) and x)(1.0).shape
    ([1, 2], ())
    """
    if isinstance(value, Tracer):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    return np.asarray(value)


def check_integers(name: str, array: Array) -> None:
    """Raise ``TypeError`` unless an array holds integers.

    >>> from funcnet.functional.indices import check_integers
    >>> check_integers("input", jnp.array([1, 2]))
    """
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must hold integers; got {array.dtype}")


def check_indices(
    name: str, index: Any, size: int, *, lowest: int = 0, ignored: int | None = None
) -> None:
    """Raise ``IndexError`` if an index lies outside of its range, as far as values are known.

    A traced array has no values yet: inside ``jax.jit`` nothing is checked.

    >>> from funcnet.functional.indices import check_indices
    >>> check_indices("target", jnp.array([0, 2, -100]), 3, ignored=-100)
    """
    values = known_values(index)
    if values is None:
        return
    values = values if ignored is None else values[values != ignored]
    if values.size and (values.min() < lowest or values.max() >= size):
        raise IndexError(
            f"{name} must lie in [{lowest}, {size - 1}]; got values from {values.min()} to "
            f"{values.max()} (inside jax.jit, where values are not known, the result is NaN)"
        )
