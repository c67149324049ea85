"""The layout of a module: every declared array by its dotted path, and whether trees of arrays fit it.

A wrapper may say that a part of it is stacked (``part_names = {"block": 12}``: one array holds the twelve
layers' values, which have names of their own on disk) or transparent (``{"block": ""}``: the part's names on
disk are those of the wrapper).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from funcnet.core.errors import ModuleDefinitionError, ParameterTreeError, ShapeMismatchError
from funcnet.core.paths import flatten, join
from funcnet.module.specs import Spec, is_buffer, is_spec

if TYPE_CHECKING:
    from funcnet.module.description import Node

__all__ = [
    "Layout",
    "ArrayPlace",
    "fits",
    "kind_of",
    "match_paths",
    "mismatch_message",
    "nested",
    "placed",
]


class ArrayPlace(NamedTuple):
    """Where a tree of arrays holds one of them."""

    spec: int
    """The ``id`` of the `Spec` that declares it."""
    path: str
    shape: tuple[int | None, ...]
    """With the axes that stacking adds; None where it is learned from an example."""


@dataclass
class Layout:
    """Every declared array of a module.

    Attributes:
        specs: the first path of each array to its spec, in the order of attributes.
        names: the first path of each array to its names on disk, once for every path under which it is
            reached; a stacked array has a name for each layer.
        sizes: the first path of each array to the leading sizes that stacking gives it.
        modules: the first path of each module to the module; the root's is ``""``.
        module_names: the first path of each module to its names: one for each layer of a stack.
        module_sizes: the first path of each module to the sizes of the stacks it lies in.
        owners: the ``id`` of each spec to the attributes that hold it: ``(id of the module's node, name)``.
        first_path: the ``id`` of each spec, and of each module's node, to its first path.
    """

    specs: dict[str, Spec] = field(default_factory=dict)
    names: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    modules: dict[str, Any] = field(default_factory=dict)
    module_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    module_sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    owners: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    first_path: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, node: "Node") -> "Layout":
        """List what a node holds."""
        layout = cls()
        layout._add(node, "", ("",), ())
        return layout

    @cached_property
    def parameters(self) -> dict[str, Spec]:
        """The arrays that are trained."""
        return {path: spec for path, spec in self.specs.items() if not is_buffer(spec)}

    @cached_property
    def buffers(self) -> dict[str, Spec]:
        """The arrays that are remembered."""
        return {path: spec for path, spec in self.specs.items() if is_buffer(spec)}

    @cached_property
    def params_tree(self) -> dict[str, Any]:
        """Nested dicts like params, with a `ArrayPlace` for each array."""
        return self._tree(self.parameters)

    @cached_property
    def state_tree(self) -> dict[str, Any]:
        """Nested dicts like state, with a `ArrayPlace` for each array."""
        return self._tree(self.buffers)

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

    def _tree(self, specs: Mapping[str, Spec]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for path, spec in specs.items():
            *above, name = path.split(".")
            inner = tree
            for part in above:
                inner = inner.setdefault(part, {})
            inner[name] = ArrayPlace(id(spec), path, self.shape(path))
        return tree

    def _add(self, node: "Node", path: str, names: tuple[str, ...], sizes: tuple[int, ...]) -> None:
        """Add a node that is reached under a path, and under some names on disk."""
        value = node.value
        if is_spec(value):
            first = self.first_path.setdefault(id(value), path)
            if self.sizes.setdefault(first, sizes) != sizes:
                raise ModuleDefinitionError(
                    f"{path} is tied to {first}, but only one of them lies inside a stack of layers: tie arrays within "
                    "one layer, or outside of the stack"
                )
            self.specs.setdefault(first, value)
            self.names.setdefault(first, []).append(names)
            return
        special: Mapping[str, str | int] = {}
        if node.attributes is not None:
            special = value.part_names
            if id(node) not in self.first_path:
                self.first_path[id(node)] = path
                self.modules[path] = value
                self.module_names[path] = names
                self.module_sizes[path] = sizes
                for name, part in node.parts:
                    if is_spec(part.value):
                        self.owners.setdefault(id(part.value), []).append((id(node), name))
        for name, part in node.parts:
            if part.declares:
                how = special.get(name, str(name))
                below = join(path, str(name))
                if isinstance(how, str):
                    self._add(part, below, tuple(join(above, how) for above in names), sizes)
                else:
                    layers = tuple(join(above, str(i)) for above in names for i in range(how))
                    self._add(part, below, layers, (*sizes, how))


def nested(tree: Mapping[str, Any], values: Mapping[int, Any]) -> dict[str, Any]:
    """Put values, by the ``id`` of their specs, in the places of a tree of a layout."""
    return {
        name: nested(below, values) if isinstance(below, dict) else values[below.spec]
        for name, below in tree.items()
    }


def placed(layout: Layout, tree: Mapping[str, Any], which: str) -> dict[int, Any]:
    """Return the arrays of params, or of state, by the ``id`` of their specs.

    Args:
        layout: of the module.
        tree: nested dicts of arrays.
        which: ``"params"`` or ``"state"``.

    Raises:
        ParameterTreeError: entries are missing or unexpected; the message lists them all.
        ShapeMismatchError: an array has another shape than declared.
    """
    found: dict[int, Any] = {}
    expected = layout.params_tree if which == "params" else layout.state_tree
    if _take(tree, expected, found):
        return found
    # Something is unusual, and perhaps wrong: go through it path by path.
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"{which} must be nested dicts of arrays, as init returns; got {kind_of(tree)}: "
            "params and state come before the inputs"
        )
    specs = layout.parameters if which == "params" else layout.buffers
    values = flatten(tree)
    absent = [path for path in specs if path in values and values[path] is None]
    if absent:
        raise ParameterTreeError(
            f"{which} has None in place of {', '.join(absent)}: put the halves of a partition together again with "
            "fn.merge(trained, frozen)"
        )
    values = match_paths(specs, {k: v for k, v in values.items() if v is not None}, which)
    for path in specs:
        _check_shape(path, layout.shape(path), values[path])
    return {id(spec): values[path] for path, spec in specs.items()}


def _take(tree: Any, expected: dict[str, Any], found: dict[int, Any]) -> bool:
    """Collect the arrays of a tree of exactly the expected names and shapes; say whether it is one.

    One call for each dict and none for an array: this runs whenever a model is called.
    """
    if not isinstance(tree, dict) or tree.keys() != expected.keys():
        return False
    for name, below in expected.items():
        value = tree[name]
        if type(below) is dict:
            if not _take(value, below, found):
                return False
        elif getattr(value, "shape", None) == below[2]:
            found[below[0]] = value
        else:
            return False
    return True


def kind_of(value: Any) -> str:
    """Describe a value for a message: its type, and its shape if it has one."""
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")


def match_paths(expected: Mapping[str, Any], values: dict[str, Any], which: str) -> dict[str, Any]:
    """Check that a flat tree has the expected paths, no more and no fewer, and return it."""
    missing = [path for path in expected if path not in values]
    unexpected = [path for path in values if path not in expected]
    if missing or unexpected:
        message = mismatch_message(f"{which} does not fit the module", missing, unexpected)
        raise ParameterTreeError(message + _WRAPPED * _differ_by_wrappers(missing, unexpected))
    return values


_WRAPPED = (
    "\n  the names differ by `module` alone: one model wraps parts of the other, as nn.Remat does. This moves arrays "
    "between them: params, state = fn.load_state_dict(module, fn.state_dict(other, params, state))"
)


def _differ_by_wrappers(missing: list[str], unexpected: list[str]) -> bool:
    """Tell whether names are the same but for the attribute in which a wrapper has its module."""
    plain = [
        sorted(".".join(part for part in path.split(".") if part != "module") for path in paths)
        for paths in (missing, unexpected)
    ]
    return plain[0] == plain[1]


def mismatch_message(problem: str, missing: list[str], unexpected: list[str]) -> str:
    """List every missing and unexpected name, a line each kind."""
    lines = [problem]
    if missing:
        lines.append(f"  missing: {', '.join(missing)}")
    if unexpected:
        lines.append(f"  unexpected: {', '.join(unexpected)}")
    return "\n".join(lines)


def fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """Say whether a shape is the declared one, where that is known."""
    return len(shape) == len(declared) and all(
        known is None or size == known for size, known in zip(shape, declared, strict=True)
    )


def _check_shape(path: str, declared: tuple[int | None, ...], value: Any) -> None:
    shape = getattr(value, "shape", None)
    if shape is None or fits(tuple(shape), declared):
        return
    if jax.sharding.get_abstract_mesh().manual_axes:
        return  # inside shard_map an array is this device's part of the declared one
    hint = " For several models stacked on a leading axis, use jax.vmap over apply"
    raise ShapeMismatchError(
        f"{path} has shape {tuple(shape)}; the module declares {declared}."
        + (hint if len(shape) > len(declared) else "")
    )
