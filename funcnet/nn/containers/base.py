"""What containers share: parts by position or by name, kept as ordinary attributes.

A part's attribute is named ``"0"``, ``"1"``, … or by its key: that is its name in a ``state_dict``.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import jax
import numpy as np

from funcnet.module import Module
from funcnet.nn.init.from_array import parameter_from_array

__all__ = ["DictOfParts", "HoldsParameters", "ListOfParts", "NamedParts"]


class NamedParts(Module):
    """Parts by name, kept among the attributes."""

    def _parts(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if self._is_part(name, part)}

    def _is_part(self, name: str, part: Any) -> bool:
        return isinstance(part, Module)

    def _check_part(self, part: Any) -> Any:
        if not isinstance(part, Module):
            raise TypeError(f"{type(self).__name__} holds modules; got {part!r}")
        return part

    def _put(self, name: str, part: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__} takes strings as names; got {name!r}")
        if not name or "." in name:
            raise KeyError(f"a part's name must be a non-empty string without dots; got {name!r}")
        if name not in vars(self) and hasattr(type(self), name):
            raise KeyError(f"{name!r} is a method of {type(self).__name__}; choose another name")
        setattr(self, name, self._check_part(part))

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._parts())


class HoldsParameters(NamedParts):
    """Parts that are parameters or any other values; arrays become parameters that start from them."""

    def _is_part(self, name: str, part: Any) -> bool:
        return name != "_binding"  # every attribute but the one that binding adds

    def _check_part(self, part: Any) -> Any:
        return parameter_from_array(part) if isinstance(part, jax.Array | np.ndarray) else part


class ListOfParts(NamedParts):
    """Parts by position."""

    def _name(self, index: int) -> str:
        names = list(self._parts())
        index = operator.index(index)
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"index {index} is out of range for a {type(self).__name__} of {len(names)}"
            )
        return names[index]

    def _replace_all(self, parts: Iterable[Any]) -> None:
        parts = list(parts)
        for name in self._parts():
            delattr(self, name)
        for index, part in enumerate(parts):
            self._put(str(index), part)

    def __iter__(self) -> Iterator[Any]:
        """Go through the parts in order."""
        return iter(self._parts().values())

    def __setitem__(self, index: int, part: Any) -> None:
        """Replace a part."""
        self._put(self._name(index), part)

    def __delitem__(self, index: int | slice) -> None:
        """Remove parts and number the others anew."""
        parts = list(self)
        del parts[
            index if isinstance(index, slice) else list(self._parts()).index(self._name(index))
        ]
        self._replace_all(parts)

    def __iadd__(self, parts: Iterable[Any]) -> Self:
        """Append several parts."""
        return self.extend(parts)

    def append(self, part: Any) -> Self:
        """Add a part at the end."""
        self._put(str(len(self)), part)
        return self

    def extend(self, parts: Iterable[Any]) -> Self:
        """Add several parts at the end."""
        if not isinstance(parts, Iterable):
            raise TypeError(f"extend takes an iterable; got {type(parts).__name__}")
        for part in list(parts):
            self.append(part)
        return self

    def insert(self, index: int, part: Any) -> Self:
        """Add a part before a position."""
        parts = list(self)
        if not -len(parts) <= index <= len(parts):
            raise IndexError(f"index {index} is out of range for {len(parts)} parts")
        parts.insert(index, self._check_part(part))
        self._replace_all(parts)
        return self

    def pop(self, index: int) -> Any:
        """Remove a part and return it."""
        part = vars(self)[self._name(index)]
        del self[index]
        return part


class DictOfParts(NamedParts):
    """Parts by key."""

    def __getitem__(self, key: str) -> Any:
        """Return a part."""
        return self._parts()[key]

    def __setitem__(self, key: str, part: Any) -> None:
        """Add or replace a part."""
        self._put(key, part)

    def __delitem__(self, key: str) -> None:
        """Remove a part."""
        self._parts()[key]
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        """Go through the keys in order of insertion."""
        return iter(self._parts())

    def __contains__(self, key: object) -> bool:
        """Say whether there is a part of this key."""
        return key in self._parts()

    def keys(self) -> Iterable[str]:
        """Return the keys."""
        return self._parts().keys()

    def values(self) -> Iterable[Any]:
        """Return the parts."""
        return self._parts().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return pairs of key and part."""
        return self._parts().items()

    def clear(self) -> None:
        """Remove every part."""
        for key in self._parts():
            delattr(self, key)

    def pop(self, key: str) -> Any:
        """Remove a part and return it."""
        part = self[key]
        del self[key]
        return part

    def update(self, parts: Any) -> None:
        """Add or replace several parts, from a mapping or from pairs of key and part."""
        if not isinstance(parts, Iterable):
            raise TypeError(f"update takes a mapping or pairs; got {type(parts).__name__}")
        pairs = parts.items() if isinstance(parts, Mapping | DictOfParts) else parts
        for pair in list(pairs):
            if not isinstance(pair, Iterable):
                raise TypeError(f"update takes pairs of key and part; got {pair!r}")
            key, part = pair
            self[key] = part
