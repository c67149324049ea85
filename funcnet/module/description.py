"""What a module declares: one walk over its attributes, and one way to make the object tree anew.

`snapshot` goes through attributes in the order of assignment, into modules, lists, tuples and dicts, and
returns a tree of `Node`: a snapshot, so that what is done to the description afterwards changes nothing
that was made from it. A node's `layout` lists every declared array by its dotted path; `rebuild` copies
the tree with arrays, or other modules, in place of what was declared; `read` collects them again.

An array or module that is reached twice is one node, stored under its first path; the other paths are
its aliases.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from funcnet.core.errors import ModuleDefinitionError
from funcnet.core.paths import join
from funcnet.module.hiding_places import class_attributes, hiding_place
from funcnet.module.layout import Layout
from funcnet.module.specs import Spec, is_buffer, is_spec

__all__ = ["Node", "is_module", "layout_of", "read", "rebuild", "replaced", "snapshot"]

ModuleT = TypeVar("ModuleT")


def is_module(value: object) -> bool:
    """Say whether a value is a `Module`; by mark, because `Module` itself is built on this file."""
    return getattr(type(value), "_is_funcnet_module", False)


def declares(value: object) -> bool:
    """Say whether a value is a module or a declared array."""
    return is_spec(value) or is_module(value)


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """A module, a container or a declared array, as it was when it was walked.

    Attributes:
        value: the module, the container or the `Spec` itself.
        parts: the parts that are nodes, by attribute name, position or key. A list or dict is always one,
            so that a bound module has its own copy; a tuple only if it holds one.
        attributes: of a module, everything it held; else None.
        declares: whether it is, or holds at any depth, a module or a declared array.
        has_buffers: whether it is, or holds at any depth, a buffer.
    """

    value: Any
    parts: tuple[tuple[Any, "Node"], ...] = ()
    attributes: Mapping[str, Any] | None = None
    declares: bool = True
    has_buffers: bool = False

    def __repr__(self) -> str:
        """Show the kind of what it is a snapshot of."""
        return f"Node({type(self.value).__name__})"

    @cached_property
    def layout(self) -> Layout:
        """Every declared array by its path from here."""
        return Layout.of(self)

    @cached_property
    def buffer_containers(self) -> tuple[str, ...]:
        """The attributes that are containers of buffers: assigned as a whole, never item by item."""
        if self.attributes is None:
            return ()
        return tuple(
            name
            for name, part in self.parts
            if part.attributes is None and any(is_buffer(item.value) for _, item in part.parts)
        )

    def __deepcopy__(self, memo: Any) -> "Node":
        """Share it: a snapshot never changes."""
        return self

    def __reduce__(self) -> Any:
        """Pickle the snapshot as a description, to be walked again: layouts go by the ids of objects."""
        leaves = {id(spec): spec for spec in self.layout.specs.values()}
        return snapshot, (rebuild(self, leaves, lambda part, new: new, {}),)


def snapshot(module: Any) -> Node:
    """Walk a description.

    Raises:
        ModuleDefinitionError: the tree has a cycle, a name that cannot be part of a path, or modules or
            parameters where they would not be found.
    """
    node = _Walk().node(module, "")
    assert node is not None  # a module always is one
    return node


def layout_of(module: Any) -> Layout:
    """Return the layout of a description, or of a bound module."""
    if not is_module(module):
        hint = ": write net.module" if hasattr(module, "apply") else ""
        raise TypeError(f"expected the module itself; got a {type(module).__name__}{hint}")
    binding = vars(module).get("_binding")
    return (snapshot(module) if binding is None else binding.node).layout


def holds_arrays(value: Any) -> bool:
    """Say whether a value is, or holds at any depth, a declared array or a module."""
    node = _Walk().node(value, "")
    return node is not None and node.declares


class _Walk:
    def __init__(self) -> None:
        self.known: dict[int, Node | None] = {}
        self.above: set[int] = set()

    def node(self, value: Any, path: str) -> Node | None:
        """Return the node of a value; None for what is static."""
        if is_spec(value):
            made = self.known.get(id(value))
            if made is None:
                made = self.known[id(value)] = Node(value, has_buffers=is_buffer(value))
            return made
        named = is_module(value)
        if not named and not isinstance(value, (list, tuple, dict)):
            hidden = hiding_place(value, declares)
            if hidden is not None:
                raise ModuleDefinitionError(
                    f"{path}{hidden}, where its arrays would not be found: keep modules, Parameters and Buffers in "
                    "attributes of modules, or in lists, tuples or dicts of them"
                )
            return None
        if id(value) in self.above:
            raise ModuleDefinitionError(
                f"{path} leads back to a module that contains it; a tree of parameters has no cycles: "
                "pass the outer module to the call that needs it instead of storing it"
            )
        if id(value) not in self.known:
            self.above.add(id(value))
            self.known[id(value)] = self._module(value, path) if named else self._items(value, path)
            self.above.discard(id(value))
        return self.known[id(value)]

    def _module(self, module: Any, path: str) -> Node:
        attributes = {name: value for name, value in vars(module).items() if name != "_binding"}
        for name, kind in class_attributes(type(module), attributes, declares):
            raise ModuleDefinitionError(
                f"{join(path, name)} is a {kind} of the class {type(module).__name__}, shared by all its instances: "
                f"assign self.{name} in __init__ instead"
            )
        parts = self._parts(attributes.items(), path)
        for name, part in parts:
            if part.declares and "." in name:
                raise ModuleDefinitionError(
                    f"{path or type(module).__name__} has an attribute named {name!r} that holds arrays; names become "
                    "parts of dotted paths and must not have dots: use a list or a dict"
                )
        type(module)._route_calls()
        return Node(module, parts, attributes, True, any(part.has_buffers for _, part in parts))

    def _items(self, value: Any, path: str) -> Node | None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        parts = self._parts(pairs, path)
        declares = any(part.declares for _, part in parts)
        if isinstance(value, tuple) and not parts:
            return None
        if declares and isinstance(value, dict):
            _check_names(value, path)
        kept = (
            value if isinstance(value, tuple) else copy.copy(value)
        )  # what is appended later is not in it
        return Node(kept, parts, None, declares, any(part.has_buffers for _, part in parts))

    def _parts(self, pairs: Any, path: str) -> tuple[tuple[Any, Node], ...]:
        found = []
        for name, value in pairs:
            part = self.node(value, join(path, str(name)))
            if part is not None:
                found.append((name, part))
        return tuple(found)


def _check_names(mapping: Mapping[Any, Any], path: str) -> None:
    for name in mapping:
        if not isinstance(name, str) or not name or "." in name:
            raise ModuleDefinitionError(
                f"{path or 'a dict'} holds modules under the key {name!r}; keys become parts of dotted "
                "paths and must be non-empty strings without dots"
            )


def rebuild(
    node: Node,
    leaves: Mapping[int, Any],
    finish: Callable[[Node, Any], Any],
    made: dict[int, Any],
) -> Any:
    """Make an object tree anew: modules and containers are copied, static values are shared.

    Args:
        node: of the tree.
        leaves: what takes the place of each declared array, by the ``id`` of its `Spec`.
        finish: ``(node, copy) -> module``, called for each module once its parts are in place.
        made: copies by the ``id`` of their nodes, so that what was shared stays shared; filled here.
    """
    known = made.get(id(node))
    if known is not None:
        return known
    value = node.value
    if node.attributes is not None:
        new = object.__new__(type(value))
        own = new.__dict__
        own.update(node.attributes)
        for name, part in node.parts:
            leaf = leaves.get(id(part.value), made)  # `made` stands for "not a leaf"
            own[name] = rebuild(part, leaves, finish, made) if leaf is made else leaf
        made[id(node)] = new = finish(node, new)
        return new
    if isinstance(value, tuple):
        items = list(value)
        for place, part in node.parts:
            items[place] = _part(part, leaves, finish, made)
        new = value._make(items) if hasattr(value, "_make") else tuple(items)  # pyright: ignore
    else:
        new = copy.copy(value)
        for place, part in node.parts:
            new[place] = _part(part, leaves, finish, made)
    made[id(node)] = new
    return new


def _part(part: Node, leaves: Any, finish: Any, made: Any) -> Any:
    if id(part.value) in leaves:
        return leaves[id(part.value)]
    return rebuild(part, leaves, finish, made)


def read(node: Node, built: Any, found: dict[int, Any], buffers_only: bool = False) -> None:
    """Collect what stands in the place of each declared array, by the ``id`` of its `Spec`."""
    own = built.__dict__ if node.attributes is not None else built
    for name, part in node.parts:
        if part.has_buffers or (part.declares and not buffers_only):
            if is_spec(part.value):
                found.setdefault(id(part.value), own[name])
            else:
                read(part, own[name], found, buffers_only)


def replaced(module: ModuleT, replace: Callable[[Any, Any], Any]) -> ModuleT:
    """Copy a description, giving each module the chance to become another; the original stays.

    Declared arrays and static values are shared with the original, and what was shared within it is
    shared within the copy.

    Args:
        module: a description.
        replace: ``(module, copy) -> module``, called once for each module, after its parts.

    Example:
        >>> from funcnet.module.description import replaced
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        >>> replaced(model, lambda old, new: nn.Tanh() if isinstance(old, nn.ReLU) else new)[1]
        Tanh()
    """
    node = snapshot(module)
    leaves = {id(spec): spec for spec in node.layout.specs.values()}
    return rebuild(node, leaves, lambda part, new: replace(part.value, new), {})


def submodules(node: Node, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the modules directly below a node, also inside containers, with their names."""
    for name, part in node.parts:
        if part.attributes is not None:
            yield f"{prefix}{name}", part.value
        elif part.declares and not is_spec(part.value):
            yield from submodules(part, f"{prefix}{name}.")


def specs_of(module: Any) -> dict[str, Spec]:
    """Return the arrays that a module's own attributes declare."""
    return {name: value for name, value in vars(module).items() if is_spec(value)}
