"""Trees of arrays as JSON: dicts, lists, tuples and None, with an order of leaves that is written down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax

from funcnet.core.aliases import PyTree
from funcnet.core.paths import join

__all__ = [
    "Description",
    "build_tree",
    "check_description",
    "describe_tree",
    "leaf_paths",
    "list_leaves",
]

Description: TypeAlias = Any
"""``"array"``, None, ``{"dict": [[name, description], ...]}``, ``{"list": [...]}`` or ``{"tuple": [...]}``."""

_DEEPEST = 100
_KINDS = ("dict", "list", "tuple")


def describe_tree(tree: PyTree, what: str) -> Description:
    """Describe a tree whose leaves are anything but containers; its leaves stand in JAX's order.

    Args:
        tree: of dicts with names, lists, tuples and None; a named tuple becomes a dict of its fields.
        what: it is, for messages.

    Raises:
        TypeError: it holds another container, which a file cannot describe.

    >>> from funcnet.export.trees import describe_tree
    >>> describe_tree({"a": (1, None)}, "the output")
    {'dict': [['a', {'tuple': ['array', None]}]]}
    """
    if tree is None:
        return None
    fields = getattr(tree, "_fields", None)
    if isinstance(tree, tuple) and fields is not None:
        items = zip(fields, tree, strict=True)
        return {"dict": [[name, describe_tree(value, what)] for name, value in items]}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [describe_tree(each, what) for each in tree]}
    if isinstance(tree, dict) and all(isinstance(name, str) for name in tree):
        # JAX sorts the names of a dict, and of nothing else
        names = sorted(tree) if type(tree) is dict else list(tree)
        return {"dict": [[name, describe_tree(tree[name], what)] for name in names]}
    if jax.tree_util.all_leaves([tree]):
        return "array"
    raise TypeError(
        f"{what} holds a {type(tree).__name__}, which a file cannot describe for readers without your code: give and "
        "return dicts with names, lists, tuples, named tuples or None (such as dataclasses.asdict(value))"
    )


def check_description(description: Any, deep: int = 0) -> int:
    """Check what was read from a file, and count its leaves.

    Raises:
        ValueError: it is no description of a tree.
    """
    if description is None or description == "array":
        return int(description is not None)
    if isinstance(description, dict) and len(description) == 1 and deep < _DEEPEST:
        ((kind, parts),) = description.items()
        if kind in _KINDS and isinstance(parts, list):
            if kind == "dict":
                _check_items(parts)
                parts = [value for _, value in parts]
            return sum(check_description(each, deep + 1) for each in parts)
    raise ValueError(f"{str(description)[:100]} describes no tree")


def _check_items(items: Sequence[Any]) -> None:
    for item in items:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)):
            raise ValueError(f"{str(item)[:100]} is no named part of a tree")
    if len({name for name, _ in items}) != len(items):
        raise ValueError("a name stands twice in a tree")


def build_tree(description: Description, leaves: Iterator[Any]) -> PyTree:
    """Build the tree of a description from its leaves in order.

    >>> from funcnet.export.trees import build_tree, describe_tree
    >>> build_tree(describe_tree({"b": [1, 2], "a": None}, "it"), iter("xy"))
    {'a': None, 'b': ['x', 'y']}
    """
    if description is None:
        return None
    if description == "array":
        return next(leaves)
    ((kind, parts),) = description.items()
    if kind == "dict":
        return {name: build_tree(each, leaves) for name, each in parts}
    made = [build_tree(each, leaves) for each in parts]
    return made if kind == "list" else tuple(made)


def leaf_paths(description: Description, path: str = "") -> list[str]:
    """List the dotted paths of the leaves of a description, in order.

    >>> from funcnet.export.trees import describe_tree, leaf_paths
    >>> leaf_paths(describe_tree({"fc": [1, None, 2]}, "it"))
    ['fc.0', 'fc.2']
    """
    if description is None or description == "array":
        return [] if description is None else [path]
    ((kind, parts),) = description.items()
    items = parts if kind == "dict" else ((str(i), each) for i, each in enumerate(parts))
    return [leaf for name, each in items for leaf in leaf_paths(each, join(path, name))]


def list_leaves(
    description: Description, tree: PyTree, path: str, refuse: Callable[[str], Exception]
) -> list[tuple[str, Any]]:
    """List the leaves of a tree in the order of its description, each with its path.

    Args:
        description: what the tree must look like; named tuples count as dicts, lists as tuples.
        tree: what a caller gave.
        path: of the tree, for messages.
        refuse: makes the error of a message.
    """
    if description is None:
        if tree is not None:
            raise refuse(f"{_at(path)}expected None, got {type(tree).__name__}")
        return []
    if description == "array":
        return [(path, tree)]
    ((kind, parts),) = description.items()
    if kind == "dict":
        named = _named(tree, path, [name for name, _ in parts], refuse)
        pairs = [(name, each, named[name]) for name, each in parts]
    else:
        if not isinstance(tree, list | tuple) or len(tree) != len(parts):
            count = f" of {len(tree)}" if isinstance(tree, list | tuple) else ""
            raise refuse(
                f"{_at(path)}expected a {kind} of {len(parts)}, got {type(tree).__name__}{count}"
            )
        pairs = [(str(i), each, tree[i]) for i, each in enumerate(parts)]
    return [
        leaf
        for name, each, value in pairs
        for leaf in list_leaves(each, value, join(path, name), refuse)
    ]


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _named(
    tree: Any, path: str, names: Sequence[str], refuse: Callable[[str], Exception]
) -> Mapping[str, Any]:
    fields = getattr(tree, "_asdict", None)
    named = fields() if fields else tree
    if not isinstance(named, Mapping):
        told = f"a dict of {', '.join(names[:8])}" if names else "an empty dict"
        raise refuse(f"{_at(path)}expected {told}; got {type(tree).__name__}")
    missing = [name for name in names if name not in named]
    unknown = [str(name) for name in named if name not in names]
    if missing or unknown:
        told = [
            f"{what}: {', '.join(each[:8])}"
            for what, each in (("missing", missing), ("unknown", unknown))
            if each
        ]
        raise refuse(f"{_at(path)}the names do not fit; {'; '.join(told)}")
    return named
