"""The norm of a whole tree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32
from funcnet.optim.leaf_rule import is_gradient, jax_leaf, moves
from funcnet.optim.row_sparse import RowSparse

__all__ = ["global_norm"]


def global_norm(tree: PyTree) -> Array:
    r"""Compute the Euclidean norm of all leaves together, :math:`\sqrt{\sum_i |x_i|^2}`.

    Sums are taken in float32 where leaves have 16 bits.

    Example:
        >>> float(optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array(4.0)}))
        5.0
    """
    leaves = [x for x in jax.tree.leaves(tree, is_leaf=is_gradient) if moves(x)]
    if not leaves:
        return jnp.zeros(())
    squares = [_square_sum(jax_leaf(each_row_once(x))) for x in leaves]
    wide = np.result_type(*[s.dtype for s in squares])
    return jnp.sqrt(sum((s.astype(wide) for s in squares), start=jnp.zeros((), wide)))


def each_row_once(x: Any) -> Any:
    """Return the values of a `RowSparse`, those of one row added up; any other leaf as it is."""
    return x.coalesced(jnp.iinfo(x.rows.dtype).max).values if isinstance(x, RowSparse) else x


def _square_sum(x: Array) -> Array:
    x = x.astype(at_least_float32(x.dtype))
    return jnp.sum((x * x.conj()).real if jnp.iscomplexobj(x) else x * x)
