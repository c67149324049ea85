"""What a tree is made of: containers taken apart by one level, and put together again."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from funcnet.checkpoint.trees.names import Names, part_of_key
from funcnet.checkpoint.trees.values import encode_value, is_value
from funcnet.optim import RuleState

__all__ = ["Opened", "fold_tree", "open_container", "type_name"]

T = TypeVar("T")

_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)

_KEYS = (str, int, bool, float, type(None))


@dataclass(frozen=True)
class Opened:
    """One container, taken apart.

    Attributes:
        kind: ``"dict"``, ``"OrderedDict"``, ``"list"``, ``"tuple"``, ``"namedtuple"``, ``"dataclass"`` or ``"node"``.
        of: the name of its class, where the kind does not say it.
        parts: the children's parts of the dotted names; none where a level is left out of them.
        keys: what the structure tells of each child: a dict's key, a field's name; nothing of list entries.
        children: what it holds, in order.
        rebuild: make a container of this kind from other children.
        fixed: a dataclass's fields that are no children; None for a field that cannot be saved.
    """

    kind: str
    of: str | None
    parts: list[str | None]
    keys: list[Any]
    children: list[Any]
    rebuild: Callable[[list[Any]], Any]
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)


def type_name(kind: type) -> str:
    """Name a class by its module and its name there.

    >>> type_name(optim.RuleState)
    'funcnet.optim.rule:RuleState'
    """
    return f"{kind.__module__}:{kind.__qualname__}"


def open_container(value: Any, name: str = "") -> Opened | None:
    """Take a container apart by one level; leaves give None.

    Args:
        value: any node or leaf.
        name: where it stands, for messages.

    Raises:
        TypeError: a dict has keys that cannot be saved, or is of a class of its own.
    """
    kind = type(value)
    if is_value(value) or isinstance(value, _ARRAYS):
        return None
    if kind in (dict, OrderedDict):
        return _open_dict(value, name)
    if kind in (list, tuple):
        parts: list[str | None] = [str(position) for position in range(len(value))]
        return Opened(kind.__name__, None, parts, parts, [*value], kind)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        fields = [*kind._fields]  # pyright: ignore[reportAttributeAccessIssue]
        parts = [*map(visible_parts(type_name(kind)), fields)]
        return Opened(
            "namedtuple", type_name(kind), parts, fields, [*value], lambda new: kind(*new)
        )
    return _open_registered(value)


def visible_parts(of: str) -> Callable[[str], str | None]:
    """Give a container's rule of names: an optimizer's slots are named without the level that holds them."""
    hidden = "slots" if of == type_name(RuleState) else None
    return lambda field: None if field == hidden else part_of_key(field)


def _open_dict(value: dict[Any, Any], name: str) -> Opened:
    for key in value:
        if not is_key_of_dict(key):
            raise TypeError(
                f"{name or 'the tree'} has a key of type {type(key).__name__}, {key!r:.60}: keys that can be saved are "
                "text, numbers, booleans, None and tuples of them"
            )
    kind, keys = type(value), [*value]

    def rebuild(new: list[Any]) -> Any:
        return kind(zip(keys, new, strict=True))

    parts: list[str | None] = [*map(part_of_key, keys)]
    return Opened(
        kind.__name__, None, parts, [*map(encode_value, keys)], [*value.values()], rebuild
    )


def is_key_of_dict(key: Any) -> bool:
    """Say whether a dict's key can be saved.

    >>> is_key_of_dict(("a", 0)), is_key_of_dict(b"a")
    (True, False)
    """
    return type(key) in _KEYS or (type(key) is tuple and all(map(is_key_of_dict, key)))


def _open_registered(value: Any) -> Opened | None:
    """Open a node of a class that is registered with JAX, by JAX's own functions."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    of, children = type_name(type(value)), [child for _, child in pairs]
    names = [_entry_name(path[0]) for path, _ in pairs]
    kind, fixed = "node", {}
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        if set(names) <= set(fields):
            kind = "dataclass"
            fixed = {field: getattr(value, field, None) for field in fields if field not in names}
    parts: list[str | None] = [*map(part_of_key, names)]
    return Opened(kind, of, parts, names, children, structure.unflatten, fixed)


def _entry_name(entry: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def fold_tree(
    tree: Any,
    leaf: Callable[[str, Any], T],
    combine: Callable[[Opened, list[T]], T],
) -> T:
    """Compute something of a tree from its leaves up.

    Args:
        tree: any pytree.
        leaf: takes a leaf's dotted name and the leaf.
        combine: takes a container and what was computed of its children.

    Returns:
        What was computed of the whole tree.

    Raises:
        TypeError: see `open_container`.
        ValueError: the tree contains itself.

    Example:
        >>> fold_tree({"a": [1, 2]}, lambda name, leaf: name, lambda opened, new: opened.rebuild(new))
        {'a': ['a.0', 'a.1']}
    """
    names = Names()

    def visit(value: Any, parts: tuple[str, ...]) -> T:
        opened = open_container(value, ".".join(parts))
        if opened is None:
            return leaf(names.make(parts), value)
        new = [
            visit(child, parts if part is None else (*parts, part))
            for part, child in zip(opened.parts, opened.children, strict=True)
        ]
        return combine(opened, new)

    try:
        return visit(tree, ())
    except RecursionError:
        raise ValueError("the tree contains itself, or is nested too deeply to be saved") from None
