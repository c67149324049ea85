"""Functions of one example made functions of many, all at once or a chunk at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.leaf_kinds import is_none
from funcnet.transforms.arguments import wraps
from funcnet.transforms.differentiable_leaves import is_typed_key
from funcnet.transforms.loops.chunked import (
    entry_each,
    mapped_in_front,
    mapped_size,
    put_between,
    run_chunks,
)

__all__ = ["vmap"]


def vmap(
    fun: Callable[..., Any],
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    *,
    chunk_size: int | None = None,
    randomness: str = "same",
) -> Callable[..., Any]:
    """Map ``fun`` over an axis of its arguments, as `jax.vmap`, whole or a chunk at a time.

    Args:
        fun: a function of one example.
        in_axes: the axis to map of each argument: a number, ``None`` for one that all examples
            share, or a tree of these that is a prefix of the arguments. Arguments passed by name
            are mapped over axis 0.
        out_axes: where the mapped axis goes in each output, likewise.
        axis_name: a name for collectives such as ``jax.lax.psum`` inside ``fun``.
        axis_size: the number of examples, needed when no argument is mapped.
        spmd_axis_name: the mesh axis that the mapped axis is sharded over.
        chunk_size: how many examples to hold in memory at once; the chunks run one after another
            in a loop inside one compiled program. The last chunk may be smaller.
        randomness: what a random key that all examples share means. ``"same"``: the same numbers
            for each, as in JAX; ``"different"``: the key is split, one for each example;
            ``"error"``: raise. Keys that ``fun`` closes over are out of sight and stay the same,
            and so do the older pairs of ``uint32`` (``jax.random.PRNGKey``), which may be numbers.

    Returns:
        The mapped function.

    Raises:
        ValueError: as `jax.vmap` for axes that do not fit; ``chunk_size`` with an ``axis_name``;
            a shared key with ``randomness="error"``.

    >>> double = transforms.vmap(lambda x, y: x * y, in_axes=(0, None), chunk_size=2)
    >>> double(jnp.arange(5.0), 2.0).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0]

    The meaning of ``randomness`` and ``chunk_size`` follows
    https://docs.pytorch.org/docs/stable/generated/torch.func.vmap.html.
    """
    check_choice("randomness", randomness, ("error", "different", "same"))
    names: dict[str, Any] = {"axis_name": axis_name, "spmd_axis_name": spmd_axis_name}
    if chunk_size is None and randomness == "same":
        return jax.vmap(fun, in_axes, out_axes, axis_size=axis_size, **names)
    if chunk_size is not None:
        check_positive("chunk_size", chunk_size)
        if axis_name is not None:
            raise ValueError(
                f"chunk_size={chunk_size} cannot be combined with axis_name={axis_name!r}: a "
                "collective would see one chunk, not the whole axis"
            )

    @wraps(fun)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        axes = (entry_each(in_axes, args), jax.tree.map(lambda _: 0, kwargs))
        leaves, treedef = jax.tree.flatten((args, kwargs))
        flat_axes = jax.tree.leaves(
            jax.tree.broadcast(axes, (args, kwargs), is_leaf=is_none), is_leaf=is_none
        )
        size = mapped_size(leaves, flat_axes) if axis_size is None else axis_size
        if randomness != "same":
            leaves, flat_axes = _share_keys(leaves, flat_axes, size, randomness)

        def of_leaves(*leaves: Any) -> Any:
            args, kwargs = jax.tree.unflatten(treedef, leaves)
            return fun(*args, **kwargs)

        if chunk_size is None or size <= chunk_size:
            whole = jax.vmap(of_leaves, tuple(flat_axes), out_axes, axis_size=size, **names)
            return whole(*leaves)
        return _in_chunks(of_leaves, leaves, flat_axes, out_axes, size, chunk_size, names)

    return mapped


def _share_keys(
    leaves: list[Any], axes: list[int | None], size: int, randomness: str
) -> tuple[list[Any], list[int | None]]:
    """Split the keys that all examples share, one for each example, or refuse them."""
    leaves, axes = list(leaves), list(axes)
    for index, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is None and is_typed_key(leaf):
            if randomness == "error":
                raise ValueError(
                    'a random key is shared by all examples and randomness="error"; map over '
                    'jax.random.split(key, n), or choose randomness="different" or "same"'
                )
            leaves[index], axes[index] = jax.random.split(leaf, size), 0
    return leaves, axes


def _in_chunks(
    of_leaves: Callable[..., Any],
    leaves: list[Any],
    axes: list[int | None],
    out_axes: Any,
    size: int,
    chunk_size: int,
    names: dict[str, Any],
) -> PyTree:
    """Run ``vmap(of_leaves)`` a chunk at a time and put the mapped axis where it belongs."""
    inner_in = tuple(None if axis is None else 0 for axis in axes)
    inner_out = jax.tree.map(lambda axis: 0, out_axes)
    mapped = jax.vmap(of_leaves, inner_in, inner_out, **names)

    def of_chunk(moved: list[Any]) -> Any:
        return mapped(*put_between(moved, leaves, axes))

    joined = run_chunks(of_chunk, mapped_in_front(leaves, axes), size, chunk_size, inner_out)
    placed = jax.tree.broadcast(out_axes, joined, is_leaf=is_none)
    return jax.tree.map(
        lambda axis, leaf: jnp.moveaxis(leaf, 0, axis) if axis else leaf,
        placed,
        joined,
        is_leaf=is_none,
    )
