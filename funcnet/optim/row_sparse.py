"""Row-sparse arrays: the gradient of an embedding table, of which a batch touches a few rows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32

__all__ = ["RowSparse"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RowSparse:
    """Some rows of an array of which all others are zero.

    It may stand in place of a gradient for any optimizer and wrapper; the result is that of the whole array.

    Attributes:
        rows: row numbers, ``(k,)``; those out of range, negative ones too, stand for no row.
        values: the rows, ``(k, ...)``. Rows that are named twice add up.

    Example:
        >>> sparse = optim.RowSparse(jnp.array([2, 0, 2]), jnp.ones((3, 1)))
        >>> sparse.add_to(jnp.zeros((4, 1)))[:, 0].tolist()
        [1.0, 0.0, 2.0, 0.0]
    """

    rows: Array
    values: Array

    def coalesced(self, count: int) -> "RowSparse":
        """Name each row once, adding up the values; spare places are zeros of the row number ``count``.

        Sums are taken in float32 where values have 16 bits, and rounded once.

        Args:
            count: how many rows the whole array has.
        """
        size = self.rows.shape[0]
        if size == 0:
            return self
        rows, inverse = jnp.unique(
            self._inside(count), size=size, fill_value=count, return_inverse=True
        )
        wide = self.values.astype(at_least_float32(self.values.dtype))
        values = jax.ops.segment_sum(wide, inverse, num_segments=size)
        is_row = (rows < count).reshape(size, *[1] * (values.ndim - 1))
        values = jnp.where(is_row, values, 0)
        return RowSparse(rows, values.astype(self.values.dtype))

    def add_to(self, array: Array) -> Array:
        """Add the rows to an array."""
        array = jnp.asarray(array)
        narrow = array.dtype != at_least_float32(array.dtype)
        # Rows that are named twice would be added in 16 bits one after the other.
        each = self.coalesced(array.shape[0]) if narrow else self
        rows = each._inside(array.shape[0])
        return array.at[rows].add(each.values.astype(array.dtype), mode="drop")

    def _inside(self, count: int) -> Array:
        """Give the row numbers, ``count`` for those that stand for no row."""
        return jnp.where((self.rows >= 0) & (self.rows < count), self.rows, count)
