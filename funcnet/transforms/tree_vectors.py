"""A tree as one vector: the differentiable leaves in a row, the constants left out."""

from collections.abc import Callable
from typing import TypeAlias

from jax.flatten_util import ravel_pytree

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.differentiable_leaves import split

__all__ = ["Matvec", "as_vector"]

Matvec: TypeAlias = Callable[[PyTree], PyTree]
"""A matrix as the function from a vector, laid out as a tree, to their product."""


def as_vector(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """Return a tree's differentiable leaves as one vector, and the way back.

    On the way back a constant leaf comes out as zeros, as in a gradient.

    >>> from funcnet.transforms.tree_vectors import as_vector
    >>> vector, as_tree = as_vector({"w": jnp.array([[1.0, 2.0]]), "n": jnp.array(3)})
    >>> vector.tolist(), as_tree(vector)["w"].shape, int(as_tree(vector)["n"])
    ([1.0, 2.0], (1, 2), 0)
    """
    pattern, moving, _ = split(tree)
    vector, unravel = ravel_pytree(moving)
    return vector, lambda flat: pattern.fill(unravel(flat))
