"""Modules by position."""

from collections.abc import Iterable
from typing import Any, overload

from funcnet.module import Module
from funcnet.nn.containers.base import ListOfParts

__all__ = ["ModuleList"]


class ModuleList(ListOfParts):
    """Hold modules by position.

    Args:
        modules: what it starts with.

    >>> layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
    >>> len(layers), len(layers[1:3]), layers[-1].out_features
    (4, 2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        if modules is not None:
            self.extend(modules)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or several as a `ModuleList`."""
        if isinstance(index, slice):
            return ModuleList(list(self)[index])
        return vars(self)[self._name(index)]

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        """Join two, numbering their modules anew."""
        return ModuleList([*self, *other])
