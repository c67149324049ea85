"""Modules applied one after the other."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

from funcnet.module import Module
from funcnet.nn.containers.base import ListOfParts

__all__ = ["Sequential"]


class PlainFunction(Module):
    """A function in a module's place: it has no parameters, and a path of its own."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, input: Any) -> Any:
        """Call the function."""
        return self.function(input)

    def extra_repr(self) -> str:
        """Show the function's name."""
        return getattr(self.function, "__name__", repr(self.function))


class Sequential(ListOfParts):
    """Apply modules one after the other, and functions such as ``jnp.tanh`` among them.

    Args:
        *args: the modules or functions, named ``"0"``, ``"1"``, …; or one list of them; or one dict of
            named ones.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 2))
    >>> params, state = fn.functionalize(model).init(jax.random.key(0))
    >>> sorted(params), len(model[:2])
    (['0', '2'], 2)
    >>> params, state = fn.functionalize(nn.Sequential([nn.Linear(3, 4), jnp.tanh])).init(jax.random.key(0))
    >>> sorted(params)
    ['0']

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sequential.html
    """

    @overload
    def __init__(self, *args: Callable[..., Any]) -> None: ...

    @overload
    def __init__(self, arg: Mapping[str, Callable[..., Any]], /) -> None: ...

    @overload
    def __init__(self, arg: Iterable[Callable[..., Any]], /) -> None: ...

    def __init__(self, *args: Any) -> None:
        only: Any = args[0] if len(args) == 1 else None
        if isinstance(only, Mapping):
            named = only
        else:
            listed = isinstance(only, Iterable) and not isinstance(only, Module | str)
            parts: Iterable[Any] = only if listed else args
            named = {str(index): part for index, part in enumerate(parts)}
        for name, part in named.items():
            self._put(name, part)

    def _check_part(self, part: Any) -> Any:
        if isinstance(part, type):
            raise TypeError(
                f"Sequential holds modules, not their classes: write {part.__name__}(...)"
            )
        if callable(part) and not isinstance(part, Module):
            return PlainFunction(part)
        return super()._check_part(part)

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
