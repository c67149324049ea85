"""Shared types for annotations, so that signatures read the same everywhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np

__all__ = [
    "Apply",
    "Array",
    "ArrayLike",
    "DType",
    "Init",
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


class Init(Protocol):
    """What `Functional.init` is: see there."""

    def __call__(self, key: Key, /, *inputs: Any, **kwargs: Any) -> tuple[Params, State]:
        """Draw initial params and state."""
        ...


class Apply(Protocol):
    """What `Functional.apply` is: see there.

    The arguments of the module's own call are ``Any`` here: Python's typing can hand on the parameters of
    another function (``ParamSpec``), but not with keywords of one's own, ``key`` and ``train``, beside them.
    A keyword that neither of them has raises ``TypeError`` when it is called.
    """

    def __call__(
        self,
        params: Params,
        state: State,
        /,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Compute output and new state."""
        ...
