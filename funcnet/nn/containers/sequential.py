"""Modules applied one after the other."""

from collections import OrderedDict
from typing import Any, overload

from funcnet.module import Module
from funcnet.nn.containers.base import ListOfParts

__all__ = ["Sequential"]


class Sequential(ListOfParts):
    """Apply modules one after the other.

    Args:
        *args: the modules, named ``"0"``, ``"1"``, …; or one ``OrderedDict`` of named modules.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 2))
    >>> params, state = fn.functionalize(model).init(jax.random.key(0))
    >>> sorted(params), len(model[:2])
    (['0', '2'], 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sequential.html
    """

    @overload
    def __init__(self, *args: Module) -> None: ...

    @overload
    def __init__(self, arg: "OrderedDict[str, Module]", /) -> None: ...

    def __init__(self, *args: Any) -> None:
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            named = args[0]
        else:
            named = {str(index): module for index, module in enumerate(args)}
        for name, module in named.items():
            self._put(name, module)

    def __call__(self, input: Any) -> Any:
        """Pass the input through every module in order."""
        for module in self:
            input = module(input)
        return input

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or several as a `Sequential` with the names they have."""
        if isinstance(index, slice):
            return Sequential(OrderedDict(list(self._parts().items())[index]))
        return vars(self)[self._name(index)]

    def __add__(self, other: "Sequential") -> "Sequential":
        """Join two, numbering their modules anew."""
        if not isinstance(other, Sequential):
            raise ValueError(f"only a Sequential can be added to another; got {other!r}")
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> "Sequential":
        """Repeat the modules; the repetitions share their parameters."""
        if not isinstance(times, int):
            raise TypeError(f"a Sequential is repeated by an integer; got {times!r}")
        if times <= 0:
            raise ValueError(f"a Sequential must be repeated at least once; got {times}")
        return Sequential(*list(self) * times)

    __rmul__ = __mul__
