"""Whether all gradients are finite, and the step that is taken only if they are."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_trainable

__all__ = ["all_finite"]


def all_finite(tree: PyTree) -> Array:
    """Say whether every number of a tree is finite.

    Example:
        >>> bool(optim.all_finite({"a": jnp.ones(2), "b": jnp.array([jnp.nan])}))
        False
    """
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if is_trainable(x)]
    return jnp.stack(found).all() if found else jnp.array(True)


def nothing(tree: PyTree) -> PyTree:
    """Make updates that leave every parameter as it is, bit for bit."""
    return jax.tree.map(lambda x: jnp.full_like(x, -0.0) if is_trainable(x) else x, tree)


def choose(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Select one of two trees, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
