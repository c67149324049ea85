"""Trees divided by dotted path, for example into what is trained and what is not, and merged again."""

from typing import Any

import jax

from funcnet.core.aliases import PyTree
from funcnet.core.leaf_kinds import is_none
from funcnet.transforms.differentiable_leaves import Selection, chosen_leaves

__all__ = ["merge", "partition"]


def partition(tree: PyTree, wrt: Selection) -> tuple[PyTree, PyTree]:
    """Divide a tree into the leaves that a selection names and the others.

    Both parts have the tree's containers, with ``None`` where a leaf went to the other part. JAX
    takes ``None`` for a container without leaves, so that either part is a tree of parameters in
    its own right: an optimizer initialised with the first never sees the second.

    Args:
        tree: any pytree.
        wrt: a dotted glob, several globs, or a predicate ``(path, leaf) -> bool``.

    Returns:
        ``(selected, rest)``; `merge` is the inverse.

    Raises:
        ValueError: a glob matches no leaf; the message lists the paths there are.

    >>> params = {"body": {"weight": 1.0}, "head": {"weight": 2.0, "bias": 3.0}}
    >>> head, frozen = transforms.partition(params, "head.*")
    >>> head
    {'body': {'weight': None}, 'head': {'bias': 3.0, 'weight': 2.0}}
    >>> transforms.merge(head, frozen) == params
    True
    """
    leaves, treedef = jax.tree.flatten(tree)
    chosen = chosen_leaves(tree, wrt)
    pairs = list(zip(leaves, chosen, strict=True))
    selected = treedef.unflatten([leaf if keep else None for leaf, keep in pairs])
    rest = treedef.unflatten([None if keep else leaf for leaf, keep in pairs])
    return selected, rest


def merge(*parts: PyTree) -> PyTree:
    """Put the parts of a tree together: of each leaf, the one that is not ``None``.

    Args:
        *parts: trees of the same containers, as `partition` returns them.

    Returns:
        One tree; where every part has ``None``, it has ``None``.

    Raises:
        ValueError: two parts have a value for the same leaf, or other containers.

    >>> transforms.merge({"a": 1.0, "b": None}, {"a": None, "b": 2.0})
    {'a': 1.0, 'b': 2.0}
    """

    def only(*values: Any) -> Any:
        found = [value for value in values if value is not None]
        if len(found) > 1:
            raise ValueError(
                f"merge got {len(found)} values for one leaf: {found[0]!r} and {found[1]!r}; each "
                "leaf may be in one part only, as partition divides them"
            )
        return found[0] if found else None

    return jax.tree.map(only, *parts, is_leaf=is_none)
