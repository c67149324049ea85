"""Containers of other libraries: mappings, dataclasses and tensors as plain trees of arrays, and back."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["numpy_leaf", "is_plain", "plain_tree", "refuse_mask", "restored_tree"]


def is_plain(tree: Any) -> bool:
    """Say whether a tree has no containers except dicts, lists and tuples.

    >>> from funcnet.data.loading.containers import is_plain
    >>> from collections import UserDict
    >>> is_plain({"a": [1]}), is_plain([UserDict(a=1)])
    (True, False)
    """
    if isinstance(tree, dict):
        return all(map(is_plain, tree.values()))
    if isinstance(tree, (list, tuple)):
        # A long list of numbers is told by the types in it, which is quick.
        return set(map(type, tree)) <= _LEAVES or all(map(is_plain, tree))
    return not isinstance(tree, Mapping) and not _is_dataclass(tree)


_LEAVES = frozenset({bool, int, float, complex, str})


def plain_tree(tree: Any) -> Any:
    """Turn mappings of any kind and dataclasses into dicts.

    >>> from funcnet.data.loading.containers import plain_tree
    >>> from collections import UserDict
    >>> plain_tree([UserDict(a=1)])
    [{'a': 1}]
    """
    if isinstance(tree, Mapping):
        return {name: plain_tree(value) for name, value in tree.items()}
    if _is_dataclass(tree):
        return {name: plain_tree(value) for name, value in _fields(tree).items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(plain_tree, tree))
    if isinstance(tree, (list, tuple)):
        return (list if isinstance(tree, list) else tuple)(map(plain_tree, tree))
    return tree


def restored_tree(like: Any, plain: Any) -> Any:
    """Make dataclasses again of the dicts that `plain_tree` made of them; mappings stay dicts.

    >>> from funcnet.data.loading.containers import restored_tree
    >>> from types import SimpleNamespace
    >>> restored_tree([1, 2], [3, 4])
    [3, 4]
    """
    if _is_dataclass(like):
        made = copy.copy(like)
        for name, value in _fields(like).items():
            # Past `__init__` and `__setattr__`: what checks one sample need not fit a batch.
            object.__setattr__(made, name, restored_tree(value, plain[name]))
        return made
    if isinstance(like, Mapping):
        return {name: restored_tree(like[name], value) for name, value in plain.items()}
    if isinstance(like, (list, tuple)) and not isinstance(plain, np.ndarray):
        parts = [restored_tree(a, b) for a, b in zip(like, plain, strict=True)]
        return type(plain)(*parts) if hasattr(plain, "_fields") else type(plain)(parts)
    return plain


def numpy_leaf(value: Any, name: str) -> np.ndarray:
    """Make a NumPy array of an array of any library, or say what to write.

    >>> from funcnet.data.loading.containers import numpy_leaf
    >>> numpy_leaf(3.5, "x")
    array(3.5)
    """
    refuse_mask(value, name)
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError, ValueError) as error:
        raise TypeError(
            f"{name or 'the array'} is a {type(value).__name__} that NumPy cannot take: {str(error).rstrip('.')}. Of a"
            " tensor take tensor.detach().cpu().numpy(), of one in bfloat16"
            " tensor.float().detach().cpu().numpy()."
        ) from error


def refuse_mask(value: Any, name: str) -> None:
    """Raise ``TypeError`` for a masked array: batches hold numbers, and those that it hides would be seen again.

    >>> from funcnet.data.loading.containers import refuse_mask
    >>> refuse_mask(np.ones(2), "x")
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name or 'the array'} is a masked array, whose mask a batch would not have: hand on array.filled(0) and,"
            " beside it, ~np.ma.getmaskarray(array)"
        )


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _fields(value: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if hasattr(value, field.name)
    }
