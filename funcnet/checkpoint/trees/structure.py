"""A pytree as named arrays and a description of its containers in JSON."""

from typing import Any, NamedTuple

from funcnet.checkpoint.trees.containers import Opened, fold_tree
from funcnet.checkpoint.trees.leaves import to_storage
from funcnet.checkpoint.trees.values import encode_value, is_value

__all__ = ["Parts", "take_apart"]


class Parts(NamedTuple):
    """A tree, taken apart.

    Attributes:
        structure: what JSON tells of its containers and of its leaves.
        arrays: its arrays by dotted name; one that stands in several places, under the first of them.
    """

    structure: Any
    arrays: dict[str, Any]


def take_apart(tree: Any) -> Parts:
    """Take a pytree apart into named arrays and its structure.

    Args:
        tree: dicts, lists, tuples, named tuples and classes registered with JAX, of arrays of JAX and NumPy, random
            keys, numbers, text, bytes and None.

    Raises:
        TypeError: something in it cannot be saved; the message says where, and what to write instead.
        ValueError: the tree contains itself, or an array whose memory was donated.

    Example:
        >>> parts = take_apart({"layers": [{"weight": np.ones(2)}], "lr": 0.1})
        >>> [*parts.arrays], parts.structure["dict"][1]
        (['layers.0.weight'], ['lr', 0.1])
    """
    arrays: dict[str, Any] = {}
    seen: dict[int, dict[str, Any]] = {}

    def leaf(name: str, value: Any) -> Any:
        if is_value(value):
            return encode_value(value)
        if id(value) not in seen:
            array, note = to_storage(name, value)
            arrays[name] = array
            seen[id(value)] = {"array": name, **note}
        return seen[id(value)]

    return Parts(fold_tree(tree, leaf, _described), arrays)


def _described(opened: Opened, children: list[Any]) -> dict[str, Any]:
    if opened.kind in ("list", "tuple"):
        return {opened.kind: children}
    pairs = [[key, child] for key, child in zip(opened.keys, children, strict=True)]
    if opened.of is None:
        return {opened.kind: pairs}
    described: dict[str, Any] = {opened.kind: pairs, "of": opened.of}
    if opened.fixed:
        described["fixed"] = {name: _fixed(value) for name, value in opened.fixed.items()}
    return described


def _fixed(value: Any) -> Any:
    """Describe a dataclass's field that is no child; None where it is nothing that can be saved."""
    try:
        structure, arrays = take_apart(value)
    except (TypeError, ValueError):
        return None
    return None if arrays else [structure]
