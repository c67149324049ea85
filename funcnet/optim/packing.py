"""Packed state: the small leaves of a tree joined into one buffer, so that a step is a few passes.

Calling a compiled function costs time for every array that goes in or out, and running it costs
time for every kernel. A tree of many small leaves pays both for the parameters, the gradients and
each of the optimizer's moments; packed, it pays them for the parameters and gradients alone.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.paths import leaves_with_paths
from funcnet.optim.leaves import is_trainable
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    with_extra,
)

__all__ = ["PackedState", "packed"]


class PackedState(NamedTuple):
    """State of `packed`: where buffers begin (always 0), and the inner state.

    The inner optimizer's pytrees have the buffers under the names of their dtypes, and the large
    leaves under their dotted paths.
    """

    begin: Array
    inner: PyTree


def packed(optimizer: GradientTransformation, limit: int = 16384) -> GradientTransformation:
    """Run an optimizer on its small leaves as one flat buffer of each dtype.

    The parameters and updates keep their structure; only the state is laid out differently. The
    results are the same numbers. It pays for trees of dozens of small leaves and more; leaves
    larger than ``limit`` stay as they are, for copying them would cost more than it saves.

    Args:
        optimizer: one that treats every number alike, as most do, or that depends on the tree as a
            whole, as clipping by the global norm does. Those of `ShapedTransformation` are refused;
            of another library's the user has to know.
        limit: the largest number of elements of a leaf that is packed.

    Returns:
        An optimizer with a `PackedState`.

    Raises:
        TypeError: the optimizer depends on each leaf's shape, norm or path.

    Example:
        >>> optimizer = optim.packed(optim.adam(1e-3))
        >>> params = {"w": jnp.ones((3, 2)), "b": jnp.ones(3)}
        >>> state = optimizer.init(params)
        >>> state.inner.slots["exp_avg"]["float32"].shape
        (9,)
    """
    if isinstance(optimizer, ShapedTransformation):
        raise TypeError(
            "packed joins leaves, and this optimizer depends on each leaf's shape, norm or path. "
            "Pack the parts that do not: optim.groups({...: optim.packed(optim.adamw())})"
        )
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> PackedState:
        layout = _Layout(params, limit)
        return PackedState(jnp.zeros((), jnp.int32), optimizer.init(layout.pack(params)))

    def update(
        grads: PyTree, state: PackedState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PackedState]:
        layout = _Layout(grads if params is None else params, limit)
        extra = {n: layout.pack(v) if layout.fits(v) else v for n, v in extra.items()}
        own_params = None if params is None else layout.pack(params)
        updates, inner = inner_update(layout.pack(grads), state.inner, own_params, **extra)
        return layout.unpack(updates, state.begin), PackedState(state.begin, inner)

    return GradientTransformation(init, update)


class _Layout:
    """Which leaves go into which buffer, and where."""

    def __init__(self, tree: PyTree, limit: int) -> None:
        self.treedef = jax.tree.structure(tree, is_leaf=_is_none)
        pairs = leaves_with_paths(tree, is_leaf=_is_none)
        self.names = [path for path, _ in pairs]
        self.shapes = [jnp.shape(leaf) if leaf is not None else () for _, leaf in pairs]
        small: dict[str, list[int]] = {}
        for i, (_, leaf) in enumerate(pairs):
            if is_trainable(leaf) and jnp.size(leaf) <= limit:
                small.setdefault(str(jnp.result_type(leaf)), []).append(i)
        self.buffers = {name: members for name, members in small.items() if len(members) > 1}

    def fits(self, tree: PyTree) -> bool:
        return jax.tree.structure(tree, is_leaf=_is_none) == self.treedef

    def pack(self, tree: PyTree) -> dict[str, Any]:
        leaves = self.treedef.flatten_up_to(tree)
        found = {
            name: jnp.concatenate([jnp.ravel(leaves[i]) for i in members])
            for name, members in self.buffers.items()
        }
        taken = {i for members in self.buffers.values() for i in members}
        rest = {self.names[i]: leaf for i, leaf in enumerate(leaves) if i not in taken}
        return {**found, **rest}

    def unpack(self, tree: dict[str, Any], begin: Array) -> PyTree:
        leaves = [tree.get(name) for name in self.names]
        for name, members in self.buffers.items():
            shapes = [self.shapes[i] for i in members]
            for i, leaf in zip(members, _cut(tree[name], shapes, begin), strict=True):
                leaves[i] = leaf
        return self.treedef.unflatten(leaves)


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _cut(buffer: Array, shapes: Sequence[tuple[int, ...]], begin: Array) -> list[Array]:
    """Cut a buffer into arrays of the given shapes, from its beginning on."""
    sizes = [math.prod(shape) for shape in shapes]
    starts = [0, *accumulate(sizes[:-1])]

    def known() -> list[Array]:
        return [jnp.asarray(start, jnp.int32) for start in starts]

    def hidden() -> list[Array]:
        # A kernel is compiled for each offset that is known at compile time, which takes seconds
        # for hundreds of leaves. Behind a condition the offsets are known at run time only, and
        # leaves of one shape share one kernel: compiling is as quick as without packing.
        return jax.lax.cond(begin == 0, known, lambda: [jnp.zeros((), jnp.int32) for _ in starts])

    offsets = jax.lax.platform_dependent(cpu=hidden, default=known)
    return [
        jax.lax.dynamic_slice(buffer, (offset,), (size,)).reshape(shape)
        for offset, size, shape in zip(offsets, sizes, shapes, strict=True)
    ]
