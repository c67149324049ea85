"""What kind of leaf stands in a tree: one that a gradient moves, a constant, or none at all."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree

__all__ = ["check_holds_arrays", "is_none", "is_trainable", "trainable_leaves"]


@lru_cache(maxsize=256)
def _is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, np.inexact))


def is_trainable(leaf: Any) -> bool:
    """Say whether a gradient moves a leaf: real and complex numbers, and arrays of them.

    Integers, booleans, random keys, ``None``, the placeholder type ``float0`` and objects that are
    no arrays are constants.

    >>> from funcnet.core.leaf_kinds import is_trainable
    >>> is_trainable(jnp.ones(2)), is_trainable(1.0)
    (True, True)
    >>> is_trainable(jnp.arange(2)), is_trainable(1), is_trainable(None), is_trainable("adam")
    (False, False, False, False)
    """
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float | complex)
    return _is_inexact(dtype)


def is_none(node: Any) -> bool:
    """Say whether a node is ``None``: the ``is_leaf`` under which ``None`` counts as a leaf.

    >>> from funcnet.core.leaf_kinds import is_none
    >>> jax.tree.leaves({"weight": 1.0, "bias": None}, is_leaf=is_none)
    [None, 1.0]
    """
    return node is None


def check_holds_arrays(function: str, tree: PyTree) -> None:
    """Raise ``TypeError`` for a tree with something in it whose numbers would be missed in silence.

    That is a module or another function, and an iterator, which is no tree.

    >>> from funcnet.core.leaf_kinds import check_holds_arrays
    >>> check_holds_arrays("get_total_norm", {"weight": jnp.ones(3), "bias": None})
    """
    for leaf in jax.tree.leaves(tree, is_leaf=_is_iterator):
        if callable(leaf):
            raise TypeError(
                f"{function} takes a tree of arrays; got a {type(leaf).__name__}, which has none: the numbers live "
                "beside the module, params, state = fn.functionalize(module).init(jax.random.key(0))"
            )
        if _is_iterator(leaf):
            raise TypeError(
                f"{function} takes a tree of arrays; got a {type(leaf).__name__}, which is read once: write list(...)"
            )


def _is_iterator(node: Any) -> bool:
    return isinstance(node, Iterator)


def trainable_leaves(tree: PyTree) -> tuple[list[Any], Callable[[Sequence[Any]], PyTree]]:
    """Take a tree apart into the leaves that a gradient moves, and a function that puts others in their place.

    The other leaves stay as they are, so that a function of the tree can be differentiated though it holds
    integers or ``None``.

    >>> from funcnet.core.leaf_kinds import trainable_leaves
    >>> leaves, rebuild = trainable_leaves({"count": 3, "none": None, "w": 1.0})
    >>> leaves, rebuild([2.0])
    ([1.0], {'count': 3, 'none': None, 'w': 2.0})
    """
    leaves, treedef = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if is_trainable(leaf)]

    def rebuild(moved: Sequence[Any]) -> PyTree:
        new = list(leaves)
        for i, leaf in zip(places, moved, strict=True):
            new[i] = leaf
        return treedef.unflatten(new)

    return [leaves[i] for i in places], rebuild
