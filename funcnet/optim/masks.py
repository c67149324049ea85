"""Masks: trees of booleans that say which numbers of a tree of arrays are kept; the others are zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import check_holds_arrays, is_none, is_trainable
from funcnet.core.paths import leaves_with_paths

__all__ = ["masked", "masks_like"]


def masked(values: Any, mask: Any) -> Array:
    """Return an array with zeros where a mask is false.

    >>> masked(jnp.array([1.0, 2.0]), np.array([True, False])).tolist()
    [1.0, 0.0]
    """
    values = (
        values if isinstance(values, jax.Array) else jnp.asarray(values, jnp.result_type(values))
    )
    return jnp.where(mask, values, jnp.zeros((), values.dtype))


def masks_like(params: PyTree, masks: PyTree) -> PyTree:
    """Bring masks to the structure of a tree of arrays, with ``None`` where there is none.

    Args:
        params: the arrays.
        masks: a tree of the same dotted paths, or some of them; or a dict by dotted path. Booleans, or zeros and
            ones, in the shapes of the arrays.

    Raises:
        ValueError: a mask is of no array, has another shape, or holds something else than zeros and ones.
        TypeError: a mask is of an array that no gradient moves.

    >>> masks_like({"w": jnp.ones(2), "b": jnp.ones(1)}, {"w": np.array([True, False])})
    {'b': None, 'w': Array([ True, False], dtype=bool)}
    """
    check_holds_arrays("masking", params)
    check_holds_arrays("masking", masks)
    pairs = leaves_with_paths(params, is_leaf=is_none)
    given = dict(leaves_with_paths(masks))
    unknown = [path for path in given if path not in dict(pairs)]
    if unknown:
        there = ", ".join(path or "''" for path, _ in pairs[:12]) or "none"
        raise ValueError(
            f"there are masks of {', '.join(unknown[:12])}, but the arrays are: {there}"
        )
    structure = jax.tree.structure(params, is_leaf=is_none)
    return structure.unflatten([_fitting(path, leaf, given.get(path)) for path, leaf in pairs])


def _fitting(path: str, leaf: Any, mask: Any) -> Array | None:
    """Return a mask as booleans, in an array of its own."""
    if mask is None:
        return None
    name = path or "the array"
    if not is_trainable(leaf) and is_trainable(mask):
        raise TypeError(
            f"the mask of {name} holds numbers, and what it is to mask holds none: parameters come first, then masks"
        )
    if not is_trainable(leaf):
        raise TypeError(
            f"{name} cannot be masked: it is {type(leaf).__name__}, which no gradient moves"
        )
    if jnp.shape(mask) != jnp.shape(leaf):
        raise ValueError(
            f"the mask of {name} has shape {jnp.shape(mask)}; the array has {jnp.shape(leaf)}: "
            "jnp.broadcast_to(mask, array.shape) widens one of rows"
        )
    if jnp.result_type(mask) != jnp.dtype(bool) and not isinstance(mask, Tracer):
        values = np.asarray(mask)
        if not ((values == 0) | (values == 1)).all():
            raise ValueError(
                f"the mask of {name} holds numbers other than 0 and 1: masks say what is kept (array != 0), they do "
                "not scale"
            )
    return jnp.array(jnp.asarray(mask), bool, copy=True)
