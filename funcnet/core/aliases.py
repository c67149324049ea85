"""Shared type aliases, so that signatures read the same everywhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

__all__ = [
    "Array",
    "ArrayLike",
    "DType",
    "Initializer",
    "Key",
    "Params",
    "PyTree",
    "Schedule",
    "Shape",
    "State",
]

Array: TypeAlias = jax.Array
"""An array of JAX, concrete or traced."""

ArrayLike: TypeAlias = jax.typing.ArrayLike
"""Anything that ``jnp.asarray`` takes without surprise: arrays and Python numbers."""

Key: TypeAlias = jax.Array
"""A random key: ``jax.random.key(0)`` (or the older ``jax.random.PRNGKey(0)``)."""

PyTree: TypeAlias = Any
"""Any tree of containers that JAX knows, with arrays at its leaves."""

Params: TypeAlias = dict[str, Any]
"""Nested dicts of arrays, keyed by attribute name: what is trained."""

State: TypeAlias = dict[str, Any]
"""Nested dicts of arrays, keyed by attribute name: what a layer remembers between calls."""

Shape: TypeAlias = Sequence[int]
"""The lengths of an array's axes."""

DType: TypeAlias = np.dtype | type | str
"""Anything that ``jnp.dtype`` takes: ``jnp.float32``, ``"bfloat16"``, a NumPy dtype."""

Initializer: TypeAlias = Callable[[Key, tuple[int, ...], Any], Array]
"""``init(key, shape, dtype) -> array``, as in ``jax.nn.initializers``."""

Schedule: TypeAlias = Callable[[Array], Array]
"""``schedule(step) -> value``, a pure function of the step count."""

NamedArrays: TypeAlias = Mapping[str, Any]
"""Dotted names to arrays: the shape of a PyTorch ``state_dict``."""
