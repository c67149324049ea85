"""Row-sparse arrays: the gradient of an embedding table, of which a batch touches a few rows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["RowSparse"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RowSparse:
    """Some rows of an array of which all others are zero.

    Attributes:
        rows: row numbers, ``(k,)``; those out of range stand for no row.
        values: the rows, ``(k, ...)``. Rows that are named twice add up.

    Example:
        >>> sparse = optim.RowSparse(jnp.array([2, 0, 2]), jnp.ones((3, 1)))
        >>> sparse.add_to(jnp.zeros((4, 1)))[:, 0].tolist()
        [1.0, 0.0, 2.0, 0.0]
    """

    rows: Array
    values: Array

    def coalesced(self, count: int) -> "RowSparse":
        """Name each row once, adding up the values; spare places get the row number ``count``.

        Args:
            count: how many rows the whole array has.
        """
        size = self.rows.shape[0]
        inside = jnp.where((self.rows >= 0) & (self.rows < count), self.rows, count)
        rows, inverse = jnp.unique(inside, size=size, fill_value=count, return_inverse=True)
        values = jax.ops.segment_sum(self.values, inverse, num_segments=size)
        return RowSparse(rows, values)

    def add_to(self, array: Array) -> Array:
        """Add the rows to an array."""
        return array.at[self.rows].add(self.values.astype(array.dtype), mode="drop")
