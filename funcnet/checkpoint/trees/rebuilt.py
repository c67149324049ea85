"""Trees made anew from their description, without a template."""

import dataclasses
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import jax

from funcnet.checkpoint.trees.containers import type_name
from funcnet.checkpoint.trees.described import Described, fold_described

__all__ = ["ABSENT", "rebuild_tree"]

ABSENT: Any = object()
"""What stands for a leaf that was not selected."""


def rebuild_tree(
    structure: Any,
    leaf: Callable[[str, Any], Any],
    classes: Iterable[type] = (),
    chosen: Callable[[str], bool] | None = None,
) -> Any:
    """Make a tree from its description.

    Args:
        structure: JSON that `take_apart` wrote.
        leaf: takes a leaf's dotted name, and its value or the dict that describes its array; returns the leaf, or
            `ABSENT`.
        classes: named tuples and dataclasses to make again; those of funcnet itself that are imported need not be
            listed. Others become named tuples of the same name and fields.
        chosen: given where leaves may be absent: they are left out of dicts, and None elsewhere. It tells whether
            an empty container of a dotted name stays.

    Raises:
        ValueError: the description cannot be read, or a container needs a template.
    """
    known = {type_name(kind): kind for kind in classes}

    def combine(name: str, one: Described, children: list[Any]) -> Any:
        if (
            chosen is not None
            and all(child is ABSENT for child in children)
            and (children or not chosen(name))
        ):
            return ABSENT
        if one.kind in _DICTS:
            pairs = zip(one.keys, children, strict=True)
            return _DICTS[one.kind]((key, child) for key, child in pairs if child is not ABSENT)
        children = [None if child is ABSENT else child for child in children]
        if one.kind in _SEQUENCES:
            return _SEQUENCES[one.kind](children)
        if one.kind == "node":
            raise ValueError(
                f"{name} is of class {one.of}, which only a template can make: load(path, like=tree), with a tree "
                'built as the saved one was; or leave it out with select="..."'
            )
        return _record(name, one, children, known.get(one.of) or _own_class(one.of))

    tree = fold_described(structure, leaf, combine)
    return {} if tree is ABSENT else tree


_DICTS: dict[str, Callable[[Any], Any]] = {"dict": dict, "OrderedDict": OrderedDict}

_SEQUENCES: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple}


def _own_class(of: str) -> Any:
    """Find a named tuple or registered dataclass of funcnet's, if it is imported; nothing is imported here."""
    module, _, name = of.partition(":")
    if module.partition(".")[0] != "funcnet":
        return None
    kind = vars(sys.modules[module]).get(name) if module in sys.modules else None
    if not isinstance(kind, type) or type_name(kind) != of:
        return None
    return kind if _is_named_tuple(kind) or _is_registered(kind) else None


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _is_registered(kind: type) -> bool:
    if not dataclasses.is_dataclass(kind):
        return False
    try:
        return not jax.tree_util.all_leaves([object.__new__(kind)])
    except AttributeError:  # JAX looked for its fields, so it is registered
        return True


def _record(name: str, one: Described, children: list[Any], kind: Any) -> Any:
    fields = dict(zip(one.keys, children, strict=True))
    for field, wrapped in one.fixed.items():
        if wrapped is not None:
            fields[field] = rebuild_tree(wrapped[0], _value_alone)
        elif kind is not None:
            raise ValueError(
                f"{name}.{field} could not be saved (a function, or another object), so {one.of} can only be loaded "
                "into a template: load(path, like=tree)"
            )
    if kind is None:
        return _stand_in(one.of.rpartition(":")[2].rpartition(".")[2], tuple(fields))(
            *fields.values()
        )
    try:
        return kind(**fields)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{name} was saved as {one.of} with fields {', '.join(fields)}; the class does not take them now "
            f"({error}). Load into a template, load(path, like=tree, strict=False)"
        ) from None


def _value_alone(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("the description of the tree cannot be read (an array among fixed fields)")
    return value


@lru_cache(maxsize=1024)  # so that two trees that are loaded are of one class
def _stand_in(name: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(name if name.isidentifier() else "Record", fields, rename=True)
