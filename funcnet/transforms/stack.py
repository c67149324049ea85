"""Several trees as one with a leading axis, and taken apart again."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet.core.aliases import PyTree
from funcnet.core.paths import leaves_with_paths

__all__ = ["stack", "unstack"]


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Stack trees of the same structure leaf by leaf along a new leading axis.

    Args:
        trees: parameter trees of several models, for `vmap` over them
            (``torch.func.stack_module_state`` is this).

    Returns:
        One tree.

    Raises:
        ValueError: there are none, or a leaf's shapes differ; the message names the leaf.

    >>> transforms.stack([{"w": jnp.zeros(2)}, {"w": jnp.ones(2)}])["w"].tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    trees = list(trees)
    if not trees:
        raise ValueError("stack needs at least one tree")
    columns = [leaves_with_paths(tree) for tree in trees]
    for leaves in zip(*columns, strict=False):
        shapes = [jnp.shape(leaf) for _, leaf in leaves]
        if len(set(shapes)) > 1:
            raise ValueError(f"{leaves[0][0]} has different shapes in the trees: {shapes}")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree: PyTree) -> list[PyTree]:
    """Take stacked trees apart: the inverse of `stack`.

    Args:
        tree: a tree whose leaves share the length of their leading axis.

    Returns:
        As many trees as that length.

    Raises:
        ValueError: the leading axes differ, or there is none.

    >>> [part["w"].tolist() for part in transforms.unstack({"w": jnp.arange(4).reshape(2, 2)})]
    [[0, 1], [2, 3]]
    """
    leaves, treedef = jax.tree.flatten(tree)
    lengths = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"unstack needs leaves with one common leading length; got {sorted(lengths)}"
        )
    ((count,),) = lengths
    return [treedef.unflatten([leaf[i] for leaf in leaves]) for i in range(count)]
