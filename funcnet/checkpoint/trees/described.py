"""A tree as a file describes it: read without running anything that the file names."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from funcnet.checkpoint.trees.containers import visible_parts
from funcnet.checkpoint.trees.names import Names, part_of_key
from funcnet.checkpoint.trees.values import decode_value

__all__ = ["Described", "fold_described", "leaves_described"]

T = TypeVar("T")


class Described(NamedTuple):
    """One container as a file describes it; see `Opened`."""

    kind: str
    of: str
    keys: list[Any]
    fixed: dict[str, Any]


def fold_described(
    structure: Any,
    leaf: Callable[[str, Any], T],
    combine: Callable[[str, Described, list[T]], T],
) -> T:
    """Compute something of a described tree from its leaves up, with the names that `fold_tree` gives.

    Args:
        structure: JSON that `take_apart` wrote, of whatever origin.
        leaf: takes a leaf's dotted name, and its value or the dict that describes its array.
        combine: takes a container's dotted name, the container and what was computed of its children.

    Raises:
        ValueError: it is nothing that `take_apart` writes.

    Example:
        >>> from funcnet.checkpoint.trees.structure import take_apart
        >>> structure = take_apart({"a": [1, 2]}).structure
        >>> fold_described(structure, lambda name, value: [name], lambda name, one, names: sum(names, []))
        ['a.0', 'a.1']
    """
    names = Names()

    def visit(node: Any, parts: tuple[str, ...]) -> T:
        if not isinstance(node, dict):
            return leaf(names.make(parts), decode_value(node))
        kind = next(iter(node), "")
        if kind == "array":
            return leaf(names.make(parts), node)
        if kind not in _READERS:
            return leaf(names.make(parts), decode_value(node))
        one, own_parts, children = _READERS[kind](kind, node)
        new = [
            visit(child, parts if part is None else (*parts, part))
            for part, child in zip(own_parts, children, strict=True)
        ]
        return combine(".".join(parts) or "the tree", one, new)

    try:
        return visit(structure, ())
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"the description of the tree cannot be read ({problem:.80})") from None


def leaves_described(structure: Any) -> dict[str, Any]:
    """List a described tree's leaves by dotted name: values, and the dicts that describe arrays.

    >>> leaves_described({"dict": [["a", 1], ["b", {"tuple": [2.5]}]]})
    {'a': 1, 'b.0': 2.5}
    """
    found: dict[str, Any] = {}
    fold_described(structure, found.__setitem__, lambda name, one, children: None)
    return found


_Read = tuple[Described, list[str | None], list[Any]]


def _sequence(kind: str, node: dict[str, Any]) -> _Read:
    parts: list[str | None] = [str(position) for position in range(len(node[kind]))]
    return Described(kind, "", [], {}), parts, node[kind]


def _dictionary(kind: str, node: dict[str, Any]) -> _Read:
    keys = [decode_value(key) for key, _ in node[kind]]
    parts: list[str | None] = [*map(part_of_key, keys)]
    return Described(kind, "", keys, {}), parts, [child for _, child in node[kind]]


def _record(kind: str, node: dict[str, Any]) -> _Read:
    keys, of = [str(key) for key, _ in node[kind]], str(node["of"])
    rule = visible_parts(of) if kind == "namedtuple" else part_of_key
    parts: list[str | None] = [*map(rule, keys)]
    one = Described(kind, of, keys, dict(node.get("fixed", {})))
    return one, parts, [child for _, child in node[kind]]


_READERS: dict[str, Callable[[str, dict[str, Any]], _Read]] = {
    "list": _sequence,
    "tuple": _sequence,
    "dict": _dictionary,
    "OrderedDict": _dictionary,
    "namedtuple": _record,
    "dataclass": _record,
    "node": _record,
}
