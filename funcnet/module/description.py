"""The layout of a module: every declared array by its dotted path, found by walking attributes once.

A wrapper may say that a part of it is stacked (``part_names = {"block": 12}``: one array holds the twelve
layers' values, which have names of their own on disk) or transparent (``{"block": ""}``: the part's names on
disk are those of the wrapper).

Walking goes through attributes in the order of assignment, into modules, lists, tuples and dicts. An
array or module that is reached twice is stored under its first path; the other paths are its aliases.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from funcnet.core.errors import ModuleDefinitionError
from funcnet.core.paths import join
from funcnet.module.specs import Spec, is_buffer, is_spec

__all__ = ["Layout", "is_module", "layout_of", "parts"]


def is_module(value: object) -> bool:
    """Say whether a value is a `Module`; by mark, for `Module` itself is built on this file."""
    return getattr(type(value), "_is_funcnet_module", False)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """List the named parts of a module or of a plain container."""
    if is_module(value):
        for name, part in vars(value).items():
            if name != "_binding":
                yield name, part
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield str(index), part
    elif isinstance(value, Mapping):
        yield from value.items()


def holds_arrays(value: Any) -> bool:
    """Say whether a value is, or holds at any depth, a declared array or a module."""
    if is_spec(value) or is_module(value):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(holds_arrays, value))
    if isinstance(value, Mapping):
        return any(map(holds_arrays, value.values()))
    return False


@dataclass
class Layout:
    """Every declared array of a module.

    Attributes:
        specs: the first path of each array to its spec, in the order of attributes.
        names: the first path of each array to its names on disk, once for every path under which it is
            reached; a stacked array has a name for each layer.
        sizes: the first path of each array to the leading sizes that stacking gives it.
        modules: the first path of each module to the module; the root's is ``""``.
    """

    specs: dict[str, Spec] = field(default_factory=dict)
    names: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    modules: dict[str, Any] = field(default_factory=dict)
    first_path: dict[int, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Spec]:
        """The arrays that are trained."""
        return {path: spec for path, spec in self.specs.items() if not is_buffer(spec)}

    @property
    def buffers(self) -> dict[str, Spec]:
        """The arrays that are remembered."""
        return {path: spec for path, spec in self.specs.items() if is_buffer(spec)}

    @property
    def incomplete(self) -> list[str]:
        """The paths of arrays whose shape waits for an example."""
        return [path for path, spec in self.specs.items() if not spec.complete]

    def path_of(self, spec: Spec) -> str:
        """Return the first path of a spec."""
        return self.first_path[id(spec)]

    def shape(self, path: str) -> tuple[int | None, ...]:
        """Return the declared shape of an array, with the axes that stacking adds."""
        return (*self.sizes[path], *self.specs[path].shape)

    def owner(self, path: str) -> str:
        """Return the path of the innermost module that holds an array."""
        above = path
        while above:
            above = above.rpartition(".")[0]
            if above in self.modules:
                return above
        return ""

    def add(self, value: Any, path: str, at: "Position") -> None:
        """Walk a value found at a path."""
        if is_spec(value):
            first = self.first_path.setdefault(id(value), path)
            if self.sizes.setdefault(first, at.sizes) != at.sizes:
                raise ModuleDefinitionError(
                    f"{path} is tied to {first}, but only one of them lies inside a stack of layers: tie arrays within "
                    "one layer, or outside of the stack"
                )
            self.specs.setdefault(first, value)
            self.names.setdefault(first, []).append(at.names)
            return
        if isinstance(value, (set, frozenset)) and any(map(holds_arrays, value)):
            raise ModuleDefinitionError(
                f"{path} is a set that holds modules or parameters; a set has no order and so no names: use a list"
            )
        if not holds_arrays(value):
            return
        if id(value) in at.above:
            raise ModuleDefinitionError(
                f"{path} leads back to a module that contains it; a tree of parameters has no cycles: "
                "pass the outer module to the call that needs it instead of storing it"
            )
        if is_module(value) and id(value) not in self.first_path:
            self.first_path[id(value)] = path
            self.modules[path] = value
        elif isinstance(value, Mapping):
            _check_names(value, path)
        special = getattr(value, "part_names", {}) if is_module(value) else {}
        for name, part in parts(value):
            self.add(part, join(path, str(name)), at.below(value, special.get(name, str(name))))


@dataclass(frozen=True)
class Position:
    """Where a walk is: the names on disk, the sizes of the stacks around, the ids of the values above."""

    names: tuple[str, ...] = ("",)
    sizes: tuple[int, ...] = ()
    above: tuple[int, ...] = ()

    def below(self, value: Any, part: str | int) -> "Position":
        """Go on to a part: one of a name, a transparent one (``""``), or a stack of some layers."""
        above = (*self.above, id(value))
        if isinstance(part, str):
            return Position(tuple(join(name, part) for name in self.names), self.sizes, above)
        names = tuple(join(name, str(layer)) for name in self.names for layer in range(part))
        return Position(names, (*self.sizes, part), above)


def _check_names(mapping: Mapping[Any, Any], path: str) -> None:
    for name in mapping:
        if not isinstance(name, str) or not name or "." in name:
            raise ModuleDefinitionError(
                f"{path or 'a dict'} holds modules under the key {name!r}; keys become parts of dotted "
                "paths and must be non-empty strings without dots"
            )


def layout_of(module: Any) -> Layout:
    """Walk a module (a description) and return its layout."""
    layout = Layout()
    layout.add(module, "", Position())
    return layout
