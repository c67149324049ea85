"""Trees of NumPy arrays, without JAX: dicts, lists, tuples and named tuples hold leaves.

Worker processes must not import JAX, so samples and batches are mapped by these few functions.
Dicts keep their order of insertion; everything that is not one of the four containers is a leaf.
"""

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["fill_tree", "map_tree", "named_leaves"]


def _join(prefix: str, name: object) -> str:
    return f"{prefix}.{name}" if prefix else str(name)


def named_leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(dotted path, leaf)`` in order.

    >>> from funcnet.core.trees import named_leaves
    >>> list(named_leaves({"image": 1, "boxes": [2, 3]}))
    [('image', 1), ('boxes.0', 2), ('boxes.1', 3)]
    """
    if isinstance(tree, dict):
        for name, child in tree.items():
            yield from named_leaves(child, _join(prefix, name))
    elif isinstance(tree, (list, tuple)):
        for position, child in enumerate(tree):
            yield from named_leaves(child, _join(prefix, position))
    else:
        yield prefix, tree


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf and keep the containers.

    >>> from funcnet.core.trees import map_tree
    >>> map_tree(lambda x: x + 1, {"a": (1, 2)})
    {'a': (2, 3)}
    """
    if isinstance(tree, dict):
        return {name: map_tree(function, child) for name, child in tree.items()}
    if isinstance(tree, tuple):
        children = [map_tree(function, child) for child in tree]
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    if isinstance(tree, list):
        return [map_tree(function, child) for child in tree]
    return function(tree)


def fill_tree(tree: Any, values: Iterator[Any]) -> Any:
    """Make a tree of the same containers from an iterator of leaves.

    >>> from funcnet.core.trees import fill_tree
    >>> fill_tree({"a": 0, "b": (0,)}, iter([1, 2]))
    {'a': 1, 'b': (2,)}
    """
    return map_tree(lambda _: next(values), tree)
