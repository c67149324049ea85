"""Modules that hold modules or parameters by position or by name.

Each part is an ordinary attribute, named ``"0"``, ``"1"``, … or by its key: that is its name in a
``state_dict``.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

import jax
import numpy as np

from funcnet.module import Module, Parameter
from funcnet.nn.containers.base import DictOfParts, ListOfParts
from funcnet.nn.init.existing import given

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


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


class ParameterList(ListOfParts):
    """Hold parameters by position; arrays become parameters that start from them.

    Args:
        values: what it starts with: `Parameter` declarations, arrays, or any other values.

    >>> weights = nn.ParameterList([fn.Parameter((2,), nn.init.ones()), jnp.zeros(3)])
    >>> params, state = fn.functionalize(weights).init(jax.random.key(0))
    >>> params["1"].shape
    (3,)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ParameterList.html
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        if values is not None:
            self.extend(values)

    def _is_part(self, name: str, part: Any) -> bool:
        return name != "_binding"

    def _check_part(self, part: Any) -> Any:
        return _as_parameter(part)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> "ParameterList": ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one value, or several as a `ParameterList`."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return vars(self)[self._name(index)]


class ModuleDict(DictOfParts):
    """Hold modules by name.

    Args:
        modules: a mapping, or pairs of name and module.

    >>> heads = nn.ModuleDict({"class": nn.Linear(8, 10), "box": nn.Linear(8, 4)})
    >>> list(heads), heads["box"].out_features
    (['class', 'box'], 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleDict.html
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        if modules is not None:
            self.update(modules)


class ParameterDict(DictOfParts):
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

    def _is_part(self, name: str, part: Any) -> bool:
        return name != "_binding"

    def _check_part(self, part: Any) -> Any:
        return _as_parameter(part)

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


def _as_parameter(value: Any) -> Any:
    """Declare a parameter that starts from an array; leave everything else."""
    if isinstance(value, jax.Array | np.ndarray):
        return given(Parameter, value)
    return value
