"""What kind of leaf stands in a tree: one that a gradient moves, a constant, or none at all."""

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["is_none", "is_trainable"]


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
