"""Functions of a batch applied to one chunk of it after another, in one compiled loop."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import PyTree
from funcnet.core.checks import check_positive
from funcnet.core.leaf_kinds import is_none
from funcnet.transforms.arguments import wraps

__all__ = ["chunked"]


def chunked(
    fun: Callable[..., Any], chunk_size: int, in_axes: int | Sequence[Any] | None = 0
) -> Callable[..., Any]:
    """Apply a function of a batch to one chunk of the batch after another.

    For functions that already take a leading axis, where `vmap` is for those that do not: the
    result is the same as ``fun(batch)`` wherever rows do not depend on each other, and the memory
    that of one chunk. The loop is inside one compiled program and can be differentiated.

    Args:
        fun: takes arrays with a leading axis and returns arrays with one as long.
        chunk_size: rows at once; the last chunk may be smaller.
        in_axes: the axis to divide of each argument, ``None`` for one that is passed whole.

    Returns:
        A function of the same arguments that returns the chunks' outputs in one piece.

    >>> rows = transforms.chunked(lambda x: x @ jnp.ones((3, 2)), chunk_size=4)
    >>> rows(jnp.ones((10, 3))).shape
    (10, 2)
    """
    check_positive("chunk_size", chunk_size)

    @wraps(fun)
    def by_chunks(*args: Any) -> Any:
        axes = entry_each(in_axes, args)
        leaves, treedef = jax.tree.flatten(args)
        flat_axes = jax.tree.leaves(
            jax.tree.broadcast(axes, args, is_leaf=is_none), is_leaf=is_none
        )
        size = mapped_size(leaves, flat_axes)
        if size <= chunk_size:
            return fun(*args)

        def of_chunk(moved: list[Any]) -> Any:
            chunks = [
                part if axis is None else jnp.moveaxis(part, 0, axis)
                for part, axis in zip(put_between(moved, leaves, flat_axes), flat_axes, strict=True)
            ]
            return fun(*jax.tree.unflatten(treedef, chunks))

        return run_chunks(of_chunk, mapped_in_front(leaves, flat_axes), size, chunk_size)

    return by_chunks


def entry_each(in_axes: Any, args: Sequence[Any]) -> Any:
    """Give each argument its entry, as `jax.vmap` reads ``in_axes``."""
    if in_axes is None or isinstance(in_axes, int):
        return (in_axes,) * len(args)
    if len(in_axes) != len(args):
        raise ValueError(
            f"in_axes must be a number, None, or one entry for each of the {len(args)} positional "
            f"arguments; got {in_axes!r}"
        )
    return tuple(in_axes)


def mapped_size(leaves: list[Any], axes: list[int | None]) -> int:
    """Find the mapped axis's length, or raise with the lengths that disagree."""
    sizes = {
        jnp.shape(leaf)[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None
    }
    if not sizes:
        raise ValueError("no argument is mapped: give an in_axes entry other than None")
    if len(sizes) > 1:
        raise ValueError(f"the mapped axes have different lengths: {sorted(sizes)}")
    return sizes.pop()


def mapped_in_front(leaves: list[Any], axes: list[int | None]) -> list[Any]:
    """List the mapped leaves with their mapped axis first."""
    return [
        jnp.moveaxis(leaf, axis, 0) if axis else jnp.asarray(leaf)
        for leaf, axis in zip(leaves, axes, strict=True)
        if axis is not None
    ]


def put_between(moved: list[Any], leaves: list[Any], axes: list[int | None]) -> list[Any]:
    """Put mapped leaves back between those that all examples share."""
    parts = iter(moved)
    return [leaf if axis is None else next(parts) for leaf, axis in zip(leaves, axes, strict=True)]


def run_chunks(
    of_chunk: Callable[[list[Any]], Any],
    moved: list[Any],
    size: int,
    chunk_size: int,
    out_axes: Any = 0,
) -> PyTree:
    """Run over whole chunks in a scan, then over what is left, and join the outputs."""
    count, left = divmod(size, chunk_size)
    whole = [
        leaf[: count * chunk_size].reshape(count, chunk_size, *leaf.shape[1:]) for leaf in moved
    ]
    outputs = jax.lax.map(of_chunk, whole)
    remainder = of_chunk([leaf[count * chunk_size :] for leaf in moved]) if left else None

    def join(axis: int | None, stacked: Any, *rest: Any) -> Any:
        if axis is None:
            return stacked[0]
        rows = stacked.reshape(count * chunk_size, *stacked.shape[2:])
        return jnp.concatenate([rows, *rest]) if rest else rows

    placed = jax.tree.broadcast(out_axes, outputs, is_leaf=is_none)
    return jax.tree.map(join, placed, outputs, *([remainder] if left else []), is_leaf=is_none)
