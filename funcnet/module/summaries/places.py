"""To which layer of a model an operation of a traced program belongs, by the scopes around it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = ["OpenPlace", "LayerPlace", "Where"]


class Where(Protocol):
    """Where in a model, or in any function, operations are."""

    @property
    def layer(self) -> str:
        """The path of the layer."""
        ...

    def entered(self, scopes: tuple[str, ...]) -> "Where":
        """Return the place within more scopes."""
        ...


@dataclass(frozen=True)
class OpenPlace:
    """Where in a function of which no model is known an operation is: the scopes themselves tell.

    A module's scope is its whole path, and that of a model its class: ``("Net", "0", "0.1")`` is ``"Net/0.1"``.

    Attributes:
        around: the scopes of calls and loops around the program.
        scopes: those within it, without paths that are parts of longer ones.

    Example:
        >>> from funcnet.module.summaries.places import OpenPlace
        >>> OpenPlace().entered(("Net", "0", "0.1")).entered(("Block",)).layer
        'Net/0.1/Block'
    """

    around: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        """The scopes, joined."""
        return "/".join((*self.around, *self.scopes))

    def entered(self, scopes: tuple[str, ...]) -> "OpenPlace":
        """Return the place within the scopes of an operation of an inner program."""
        found: list[str] = []
        for scope in scopes:
            if scope in found:  # a derivative's scopes may say the same once more
                del found[found.index(scope) :]
            if found and scope.startswith(f"{found[-1]}."):
                found.pop()
            found.append(scope)
        return OpenPlace((*self.around, *self.scopes), tuple(found))


@dataclass(frozen=True)
class LayerPlace:
    """Where in a model an operation is.

    Attributes:
        kinds: the names of classes by paths.
        layer: the path of the module around it.
        base: the path of the part of the model that runs as a model of its own (as the block of `nn.Repeat` does),
            whose scopes begin anew: with the name of its class, then paths within it.
        begun: whether the scope of the model itself was met.
    """

    kinds: Mapping[str, str]
    layer: str = ""
    base: str = ""
    begun: bool = False

    def entered(self, scopes: tuple[str, ...]) -> "LayerPlace":
        """Return the place within more scopes."""
        place = self
        for scope in scopes:
            place = place._within(scope)
        return place

    def _within(self, scope: str) -> "LayerPlace":
        if not self.begun and scope == self.kinds[""]:
            return replace(self, begun=True)
        path = f"{self.base}.{scope}" if self.base else scope
        if path in self.kinds and _is_below(path, self.layer):
            return replace(self, layer=path, begun=True)
        if scope == self.kinds.get(self.base) and self.base:
            return self
        parts = [
            path
            for path, kind in self.kinds.items()
            if kind == scope and path != self.layer and _is_below(path, self.layer)
        ]
        nearest = [path for path in parts if path.count(".") == min(p.count(".") for p in parts)]
        if len(nearest) == 1:
            return replace(self, layer=nearest[0], base=nearest[0])
        return self


def _is_below(path: str, above: str) -> bool:
    return not above or path == above or path.startswith(f"{above}.")
