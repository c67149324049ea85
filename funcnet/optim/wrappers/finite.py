"""Whether all gradients are finite, and the step that is taken only if they are."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_trainable
from funcnet.optim.leaf_rule import map_moved, on_values

__all__ = ["all_finite"]


def all_finite(tree: PyTree) -> Array:
    """Say whether every number of a tree is finite.

    Example:
        >>> bool(optim.all_finite({"a": jnp.ones(2), "b": jnp.array([jnp.nan])}))
        False
    """
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if is_trainable(x)]
    return jnp.stack(found).all() if found else jnp.array(True)


def step_if(good: Array, updates: PyTree, inner: PyTree, before: PyTree) -> tuple[PyTree, PyTree]:
    """Take a step of an inner optimizer, or leave parameters and state as they are, bit for bit.

    Args:
        good: whether to take it.
        updates: the step.
        inner: the inner state after it.
        before: the inner state before it.

    Returns:
        The updates and the inner state.

    Example:
        >>> updates, inner = step_if(jnp.array(False), jnp.ones(1), jnp.array(3), jnp.array(2))
        >>> updates.tolist(), int(inner)
        ([-0.0], 2)
    """
    # A negative zero is the one number that changes nothing it is added to.
    taken = map_moved(on_values(lambda u: jnp.where(good, u, jnp.full_like(u, -0.0))), updates)
    return taken, jax.tree.map(lambda yes, no: jnp.where(good, yes, no), inner, before)
