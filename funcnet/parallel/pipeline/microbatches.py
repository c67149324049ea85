"""Microbatches: a batch cut into parts that follow each other through a pipeline."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree

__all__ = ["cut_batch", "is_array", "joined_batch", "rows_of_batch", "slice_at"]


def is_array(leaf: Any) -> bool:
    """Say whether a leaf goes through a pipeline as an array; flags, words and functions do not."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def rows_of_batch(name: str, tree: PyTree) -> int:
    """Return the length of the leading axis that all leaves share."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
    rows = {shape[0] for shape in shapes if shape}
    if len(rows) != 1 or () in shapes:
        raise ValueError(
            f"{name} is cut into microbatches along its leading axis, which all of its arrays must have in common; "
            f"got shapes {shapes}"
        )
    return rows.pop()


def cut_batch(name: str, tree: PyTree, count: int, parts: int = 1) -> PyTree:
    """Give each leaf a leading axis of microbatches.

    Microbatch ``i`` is rows ``i, i + count, …``: where the rows are spread over devices, those of each
    microbatch still are.

    Args:
        name: of the tree, for messages.
        tree: whose leaves have rows on their leading axis.
        count: of microbatches.
        parts: that the rows of each microbatch are divided into.

    Raises:
        ValueError: rows that the number of microbatches, and of parts, does not divide.
    """
    rows = rows_of_batch(name, tree)
    if rows % (count * parts):
        fitting = [number for number in range(1, rows + 1) if rows % (number * parts) == 0]
        times = f" of {parts} parts" if parts > 1 else ""
        raise ValueError(
            f"{name} has {rows} rows, which {count} microbatches{times} do not divide: give a batch of a multiple of "
            f"{count * parts} rows, or microbatches= one of {fitting or 'none'}"
        )

    def cut(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return jnp.swapaxes(leaf.reshape(rows // count, count, *leaf.shape[1:]), 0, 1)

    return jax.tree.map(cut, tree)


def joined_batch(tree: PyTree) -> PyTree:
    """Undo `cut_batch`."""

    def join(leaf: Array) -> Array:
        count, rows, *rest = leaf.shape
        return jnp.swapaxes(leaf, 0, 1).reshape(count * rows, *rest)

    return jax.tree.map(join, tree)


def slice_at(tree: PyTree, index: Array) -> PyTree:
    """Take one entry along the leading axis of each leaf."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree
    )
