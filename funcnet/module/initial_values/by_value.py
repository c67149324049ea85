"""Which initializers do the same, so that they share a program."""

from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any

from funcnet.core.aliases import Array, Initializer, Key

__all__ = ["by_value"]


@dataclass(frozen=True)
class _ByValue:
    """A function that equals any other of the same code and the same captured values.

    ``jax.nn.initializers.normal()`` is another object in each layer, and a program for each would be compiled.
    """

    identity: Any
    function: Initializer = field(compare=False)

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.function(key, shape, dtype)

    def __repr__(self) -> str:
        return repr(self.function)


def by_value(init: Initializer) -> Initializer:
    """Return an initializer that is compared by what it does, where that can be told."""
    identity = _identity_of(init)
    return init if identity is init else _ByValue(identity, init)


def _identity_of(value: Any) -> Any:
    """Return something hashable that is equal for functions that do the same; the value itself if not known."""
    if isinstance(value, partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return (partial, tuple(value.keywords), *map(_identity_of, parts))
    if not isinstance(value, FunctionType):
        return value
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    captured = (*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    identity = (value.__code__, value.__module__, *map(_identity_of, captured))
    try:
        hash(identity)
    except TypeError:  # it captured a list or an array: nobody knows whether two are the same
        return value
    return identity
