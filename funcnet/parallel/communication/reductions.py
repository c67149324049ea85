"""Sums and means over the devices of a mesh axis, in the dtype that is chosen for the wire."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.optim.leaf_rule import is_gradient, jax_leaf, moves
from funcnet.optim.protocol import GradientTransformation, stateless
from funcnet.optim.row_sparse import RowSparse
from funcnet.parallel.communication.axes import MeshAxes, require_bound_axis, require_local

__all__ = [
    "average_gradients",
    "check_reduce_dtype",
    "local_gradients",
    "mean_over",
    "shared",
    "sum_over",
]


def average_gradients(
    axis: MeshAxes = "data", reduce_dtype: Any | None = None
) -> GradientTransformation:
    r"""Replace each device's own gradients by their mean over all devices of an axis.

    .. math:: g \leftarrow \frac1n \sum_{d=1}^n g_d

    The first link of a chain, in a step that runs on each device's part of the batch (`local_step`). What
    decides by the values of gradients comes after it, as in ``chain(average_gradients(), skip_nonfinite(adamw()))``:
    around it, each device would decide for itself, and their parameters would part.

    Args:
        axis: the mesh axis, or several.
        reduce_dtype: in which dtype gradients travel, such as ``jnp.bfloat16``: half the bytes, and
            one rounding more. ``None``: as they are, in 32 bits at least.

    Returns:
        A transformation without state.

    Raises:
        TypeError: ``reduce_dtype`` is no dtype of real floats.
        ValueError: ``update`` does not run on each device of the axis.

    Example:
        >>> optimizer = optim.chain(fn.parallel.average_gradients("data"), optim.sgd(0.1))
        >>> step = lambda g: optimizer.update(g, optimizer.init(g))[0]
        >>> parts = jax.shard_map(
        ...     step, mesh=fn.parallel.mesh(data=-1), in_specs=jax.P("data"), out_specs=jax.P())
        >>> parts(jnp.ones(len(jax.devices()))).tolist()
        [-0.10000000149011612]
    """
    check_reduce_dtype(reduce_dtype)

    def average(grads: PyTree, params: PyTree) -> PyTree:
        count = require_bound_axis("average_gradients", axis)
        local, rebuild = local_gradients("average_gradients", grads, params, axis)
        return rebuild(mean_over(local, axis, count, reduce_dtype))

    return stateless(average)


def local_gradients(
    function: str, grads: PyTree, params: PyTree, axis: MeshAxes
) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """Take a device's own gradients out of a tree, and return a function that puts others in their place.

    A gradient of some rows is made a whole array, because each device has other rows.
    """
    leaves, treedef = jax.tree.flatten(grads, is_leaf=is_gradient)
    like = leaves if params is None else treedef.flatten_up_to(params)
    at = [i for i, leaf in enumerate(leaves) if moves(leaf)]
    local = [_dense(function, leaves[i], like[i]) for i in at]
    require_local(function, local, axis)

    def rebuild(new: Sequence[Array]) -> PyTree:
        replaced = dict(zip(at, new, strict=True))
        return treedef.unflatten([replaced.get(i, leaf) for i, leaf in enumerate(leaves)])

    return local, rebuild


def check_reduce_dtype(dtype: Any | None) -> None:
    """Raise ``TypeError`` unless gradients can travel in a dtype.

    Example:
        >>> check_reduce_dtype(jnp.bfloat16)
    """
    if dtype is not None and not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise TypeError(
            f"reduce_dtype must be a dtype of real floats, such as jnp.bfloat16; got {dtype!r}"
        )


def mean_over(
    leaves: Sequence[Array], axis: MeshAxes, count: int, dtype: Any | None
) -> list[Array]:
    """Return the means over devices: divided first, so that a sum in few bits cannot overflow."""
    return sum_over([_wide(leaf) / count for leaf in leaves], axis, dtype, like=leaves)


def sum_over(
    leaves: Sequence[Array], axis: MeshAxes, dtype: Any | None = None, like: Any = None
) -> list[Array]:
    """Add arrays up over the devices of an axis, all in one reduction.

    Args:
        leaves: the arrays.
        axis: the mesh axis, or several.
        dtype: of what travels, for real floats; ``None``: in 32 bits at least.
        like: arrays whose dtypes the sums are given, if not those of ``leaves``.
    """
    if not leaves:
        return []
    wire = [_wire_dtype(leaf, dtype) for leaf in leaves]
    sent = [leaf.astype(kind) for leaf, kind in zip(leaves, wire, strict=True)]
    narrow = any(jnp.dtype(kind).itemsize < 4 for kind in wire)
    summed = (
        lax.platform_dependent(
            sent, cpu=lambda sent: _sum_wide(sent, axis), default=lambda sent: lax.psum(sent, axis)
        )
        if narrow
        else lax.psum(sent, axis)
    )
    result = leaves if like is None else like
    return [total.astype(leaf.dtype) for total, leaf in zip(summed, result, strict=True)]


def shared(leaf: Any, share: Array | float) -> Array:
    """Weigh one device's array; where it has no share, what it holds does not matter."""
    leaf = _wide(jax_leaf(leaf))
    if isinstance(share, jax.Array):
        return jnp.where(share == 0, 0, leaf * share.astype(leaf.dtype))
    return leaf * share


def _sum_wide(sent: list[Array], axis: MeshAxes) -> list[Array]:
    """Add up in float32 and round once, which is what XLA does on CPUs.

    Written out, because XLA ends the whole process when it rewrites a 16-bit sum itself in a program
    of which some axes are left to it.
    """
    summed = lax.psum([_wide(x) for x in sent], axis)
    return [total.astype(x.dtype) for total, x in zip(summed, sent, strict=True)]


def _wire_dtype(leaf: Array, dtype: Any | None) -> Any:
    return at_least_float32(leaf.dtype) if dtype is None or not is_float(leaf) else dtype


def _wide(leaf: Array) -> Array:
    return leaf.astype(at_least_float32(leaf.dtype))


def _dense(function: str, gradient: Any, param: Any) -> Array:
    if not isinstance(gradient, RowSparse):
        return jax_leaf(gradient)
    if param is gradient:
        raise ValueError(
            f"{function} needs the parameters for a gradient of some rows: call update(grads, state, params)"
        )
    return gradient.add_to(jnp.zeros(jnp.shape(param), gradient.values.dtype))
