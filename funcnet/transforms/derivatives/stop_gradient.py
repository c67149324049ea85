"""Values that derivatives take for constants, as PyTorch's ``detach`` gives them."""

import jax

from funcnet.core.aliases import PyTree
from funcnet.core.leaf_kinds import is_trainable

__all__ = ["stop_gradient"]


def stop_gradient(tree: PyTree) -> PyTree:
    """Return a tree as it is, as a constant for every derivative.

    As `jax.lax.stop_gradient`; PyTorch's ``detach``.

    Args:
        tree: any pytree; leaves that are not arrays stay as they are.

    Returns:
        The same values.

    >>> float(transforms.grad(lambda x: x * transforms.stop_gradient(x))(3.0))
    3.0
    """
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if is_trainable(leaf) else leaf, tree
    )
