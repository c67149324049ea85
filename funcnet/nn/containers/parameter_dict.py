"""Parameters by name."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from funcnet.nn.containers.base import DictOfParts, HoldsParameters

__all__ = ["ParameterDict"]


class ParameterDict(HoldsParameters, DictOfParts):
    """Hold parameters by name; arrays become parameters that start from them.

    Args:
        parameters: a mapping, or pairs of name and `Parameter`, array or any other value.

    >>> scales = nn.ParameterDict({"left": fn.Parameter((2,), nn.init.ones())})
    >>> scales["right"] = jnp.zeros(2)
    >>> sorted(fn.functionalize(scales).init(jax.random.key(0))[0])
    ['left', 'right']

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ParameterDict.html
    """

    def __init__(
        self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
    ) -> None:
        if parameters is not None:
            self.update(parameters)

    def __reversed__(self) -> Iterator[str]:
        """Go through the keys, the last one first."""
        return reversed(self._parts())

    def __or__(self, other: "ParameterDict") -> "ParameterDict":
        """Join two; the right one's entries win."""
        joined = self.copy()
        joined.update(other)
        return joined

    def __ior__(self, other: "ParameterDict") -> Self:
        """Add another's entries."""
        self.update(other)
        return self

    def copy(self) -> "ParameterDict":
        """Return another dict of the same parameters."""
        return ParameterDict(self._parts())

    def get(self, key: str, default: Any = None) -> Any:
        """Return a parameter, or the default."""
        return self._parts().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a parameter, adding the default first if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Remove the last entry and return it."""
        key = next(reversed(self))
        return key, self.pop(key)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> "ParameterDict":
        """Return a dict that gives each key the same value."""
        return ParameterDict([(key, default) for key in keys])
