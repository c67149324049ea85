"""The public names of funcnet, each once: under the name that users write."""

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from docs.generation.assemble import ROOT

__all__ = ["PublicName", "public_names"]

SHORT = {"funcnet": "fn", "funcnet.functional": "F"}
"""How a namespace is imported, where not by its last part."""


@dataclass(frozen=True)
class PublicName:
    """One public object.

    Attributes:
        path: the dotted name, ``funcnet.nn.Linear``; of several the shortest.
        also: its other names.
        value: the object.
    """

    path: str
    also: tuple[str, ...]
    value: Any

    @property
    def namespace(self) -> str:
        """``funcnet.nn``."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """``Linear``."""
        return self.path.rpartition(".")[2]

    @property
    def short(self) -> str:
        """``nn.Linear``, as users write it."""
        home = SHORT.get(self.namespace, self.namespace.removeprefix("funcnet."))
        return f"{home}.{self.name}"


@cache
def public_names() -> tuple[PublicName, ...]:
    """List what is public, sorted; an object with several names is there once."""
    paths: dict[int, list[str]] = {}
    values: dict[int, Any] = {}
    for path in (ROOT / "tests/meta/public_api.txt").read_text().split():
        home, _, last = path.rpartition(".")
        value = getattr(importlib.import_module(home), last)
        values[id(value)] = value
        paths.setdefault(id(value), []).append(path)
    found = []
    for key, names in paths.items():
        first, *also = sorted(names, key=lambda name: (name.count("."), name))
        found.append(PublicName(first, tuple(also), values[key]))
    return tuple(sorted(found, key=lambda name: name.path))
