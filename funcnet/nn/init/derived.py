"""Initial values that are computed from what another parameter starts with."""

from dataclasses import dataclass, field
from typing import Any

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.module.specs import Spec

__all__ = ["DerivedFromDraw"]


@dataclass(frozen=True)
class DerivedFromDraw:
    """An initializer that draws another array's initial values and computes its own from them.

    The module system gives it the key of the array ``beside`` which it is declared.
    """

    beside: Spec = field(compare=False)
    function: Any
    settings: tuple[Any, ...]
    source: Initializer
    shape: tuple[Any, ...]

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Compute the initial values."""
        drawn = self.source(key, self.shape, dtype)
        return self.function(key, drawn, *self.settings).reshape(shape)
