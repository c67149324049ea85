"""Initial values that are computed from what another array starts with."""

from dataclasses import dataclass
from typing import Any

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.module.specs import Spec

__all__ = ["FromDraw", "drawn_with"]


@dataclass(frozen=True)
class FromDraw:
    """An initializer that draws another array's initial values and computes its own from them.

    It has to be given that array's key: see `drawn_with`.
    """

    function: Any
    settings: tuple[Any, ...]
    source: Initializer
    shape: tuple[Any, ...]

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Compute the initial values."""
        drawn = self.source(key, self.shape, dtype)
        return self.function(key, drawn, *self.settings).reshape(shape)


def drawn_with(source: Spec, spec: Any) -> Any:
    """Let an array's initializer be given the key of another, so that it can repeat that one's draw."""
    spec.drawn_with = source
    return spec
