"""Packed state: the small leaves of a tree joined into buffers, so that a step is a few passes.

Calling a compiled function costs time for every array that goes in or out, and running it costs
time for every kernel. A tree of many small leaves pays both for the parameters, the gradients and
each of the optimizer's moments; packed, it pays them for the parameters and gradients alone.

A buffer holds up to as many elements as the largest leaf that is packed. One buffer for all of them
would be worse: arithmetic on hundreds of kilobytes is shared out among threads, and the many small
copies that wait for it are then handed from thread to thread too (measured on a CPU with two cores,
a thousand leaves: 5.5 ms against 1.6 ms with the buffers kept short).
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import widest
from funcnet.core.leaf_kinds import is_trainable
from funcnet.optim.leaf_rule import (
    is_gradient,
    jax_leaf,
    leaf_names,
    moves,
    require_shape,
    require_state,
)
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    require_optimizer,
    with_extra,
)
from funcnet.optim.row_sparse import RowSparse

__all__ = ["PackedState", "packed"]


class PackedState(NamedTuple):
    """State of `packed`: where buffers begin (always 0), and the inner state.

    The inner optimizer's pytrees have a list of buffers for each dtype under ``"packed"``, and the
    large leaves by their dotted paths under ``"alone"``.

    Example:
        >>> state = optim.packed(optim.adam(1e-3)).init({"w": jnp.ones((3, 2)), "b": jnp.ones(3)})
        >>> state._fields
        ('begin', 'inner')
    """

    begin: Array
    inner: PyTree


def packed(optimizer: GradientTransformation, limit: int = 16384) -> GradientTransformation:
    """Run an optimizer on its small leaves as a few flat buffers of each dtype.

    The parameters and updates keep their structure; only the state is laid out differently. The
    results are the same numbers; of a leaf without a gradient nothing changes. It pays for trees of
    dozens of small leaves and more; leaves larger than ``limit`` stay as they are, because copying them
    would cost more than it saves.

    Args:
        optimizer: one that treats every number alike, as most do, or that depends on the tree as a
            whole, as clipping by the global norm does. Those of `ShapedTransformation` are refused;
            of another library's the user has to know.
        limit: the largest number of elements of a leaf that is packed, and of a buffer.

    Returns:
        An optimizer with a `PackedState`.

    Raises:
        TypeError: the optimizer depends on each leaf's shape, norm or path.

    Example:
        >>> optimizer = optim.packed(optim.adam(1e-3))
        >>> params = {"w": jnp.ones((3, 2)), "b": jnp.ones(3)}
        >>> state = optimizer.init(params)
        >>> [x.shape for x in state.inner.slots["exp_avg"]["packed"]["float32"]]
        [(9,)]
    """
    if isinstance(optimizer, ShapedTransformation):
        raise TypeError(
            "packed joins leaves, and this optimizer depends on each leaf's shape, norm or path. "
            "Pack the parts that do not: optim.groups({...: optim.packed(optim.adamw())})"
        )
    require_optimizer("packed", optimizer)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> PackedState:
        begin, layout = jnp.zeros((), jnp.int32), _Packing(params, limit)
        # A tree without leaves may stand for one that has some (`optax.tree.map_params` asks so).
        return PackedState(begin, optimizer.init(layout.pack(params) if layout.names else params))

    def update(
        grads: PyTree, state: PackedState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PackedState]:
        require_state("packed", state, PackedState)
        layout = _Packing(grads if params is None else params, limit)
        if not layout.names:
            updates, inner = inner_update(grads, state.inner, params, **extra)
            return updates, PackedState(state.begin, inner)
        extra = {n: layout.pack(v) if layout.fits(v) else v for n, v in extra.items()}
        own_params = None if params is None else layout.pack(params)
        updates, inner = inner_update(layout.pack(grads), state.inner, own_params, **extra)
        # The barrier keeps the arithmetic in one pass: fused into each copy, it would run slower.
        updates = _barrier(updates)
        updates, inner = layout.keep_without_gradient(grads, updates, inner, state)
        return updates, PackedState(state.begin, inner)

    return GradientTransformation(init, update)


class _Packing:
    """Which leaves go into which buffer, and where."""

    def __init__(self, tree: PyTree, limit: int) -> None:
        leaves, self.treedef = jax.tree.flatten(tree, is_leaf=is_gradient)
        self.names = leaf_names(tree)
        self.shapes = [jnp.shape(leaf) if is_trainable(leaf) else () for leaf in leaves]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        small: dict[str, list[int]] = {}
        for i, leaf in enumerate(leaves):
            if is_trainable(leaf) and self.sizes[i] <= limit:
                small.setdefault(str(jnp.result_type(leaf)), []).append(i)
        filled = {dtype: self._fill(members, limit) for dtype, members in small.items()}
        self.buffers = {dtype: buffers for dtype, buffers in filled.items() if buffers}
        taken = {i for buffers in self.buffers.values() for members in buffers for i in members}
        self.alone = [i for i in range(len(leaves)) if i not in taken]

    def _fill(self, candidates: list[int], limit: int) -> list[list[int]]:
        """Put leaves into buffers of up to ``limit`` elements, in order."""
        buffers: list[list[int]] = []
        room = -1
        for i in candidates:
            if self.sizes[i] > room:
                buffers.append([])
                room = limit
            buffers[-1].append(i)
            room -= self.sizes[i]
        # A leaf that is alone in its buffer would be copied for nothing.
        return [members for members in buffers if len(members) > 1]

    def fits(self, tree: PyTree) -> bool:
        return jax.tree.structure(tree, is_leaf=is_gradient) == self.treedef

    def pack(self, tree: PyTree) -> dict[str, Any]:
        leaves = self.treedef.flatten_up_to(tree)

        def joined(members: list[int], dtype: str) -> Array:
            parts = [self._flat(leaves[i], i, dtype) for i in members]
            wide = widest(*(part.dtype for part in parts))
            return jnp.concatenate([part.astype(wide) for part in parts])

        found = {
            dtype: [joined(members, dtype) for members in buffers]
            for dtype, buffers in self.buffers.items()
        }
        return {"packed": found, "alone": {self.names[i]: leaves[i] for i in self.alone}}

    def _flat(self, leaf: Any, i: int, dtype: str) -> Array:
        """Give one leaf as a vector; zeros where there is none."""
        if isinstance(leaf, RowSparse):
            return leaf.add_to(jnp.zeros(self.shapes[i], leaf.values.dtype)).ravel()
        if not moves(leaf):
            return jnp.zeros((self.sizes[i],), dtype)
        require_shape("packed", leaf, self.shapes[i])
        return jax_leaf(leaf).ravel()

    def keep_without_gradient(
        self, grads: PyTree, updates: dict[str, Any], inner: PyTree, before: "PackedState"
    ) -> tuple[PyTree, PyTree]:
        """Unpack the updates; where there is no gradient, take back what the step did to the inner state."""
        leaves = self.treedef.flatten_up_to(grads)
        unpacked = self.treedef.flatten_up_to(self.unpack(updates, before.begin))
        still = {
            i
            for buffers in self.buffers.values()
            for members in buffers
            for i in members
            if not moves(leaves[i])
        }
        for i in still:
            unpacked[i] = leaves[i]
        if still:
            inner = jax.tree.map(
                lambda new, old: self._kept(still, new, old),
                inner,
                before.inner,
                is_leaf=_is_packed,
            )
        return self.treedef.unflatten(unpacked), inner

    def _kept(self, still: set[int], new: Any, old: Any) -> Any:
        """Take the old numbers of some leaves of a packed tree."""
        if not _is_packed(new):
            return new

        def choose(members: list[int], new: Array, old: Array) -> Array:
            parts = [np.full(self.sizes[i], i in still) for i in members]
            return jnp.where(np.concatenate(parts), old, new)

        found = {
            dtype: [
                choose(*row)
                for row in zip(buffers, new["packed"][dtype], old["packed"][dtype], strict=True)
            ]
            for dtype, buffers in self.buffers.items()
        }
        return {**new, "packed": found}

    def unpack(self, tree: dict[str, Any], begin: Array) -> PyTree:
        leaves: list[Any] = [None] * len(self.names)
        for i in self.alone:
            leaves[i] = tree["alone"][self.names[i]]
        pairs = [
            (members, buffer)
            for dtype, buffers in self.buffers.items()
            for members, buffer in zip(buffers, tree["packed"][dtype], strict=True)
        ]
        starts = [[0, *accumulate(self.sizes[i] for i in members[:-1])] for members, _ in pairs]
        offsets = _offsets(sorted({start for each in starts for start in each}), begin)
        for (members, buffer), each in zip(pairs, starts, strict=True):
            for i, start in zip(members, each, strict=True):
                part = jax.lax.dynamic_slice(buffer, (offsets[start],), (self.sizes[i],))
                leaves[i] = part.reshape(self.shapes[i])
        return self.treedef.unflatten(leaves)


def _is_packed(node: Any) -> bool:
    return isinstance(node, dict) and set(node) == {"packed", "alone"}


def _barrier(updates: PyTree) -> PyTree:
    """Keep what computes the arrays of a tree apart from what uses them."""
    leaves, treedef = jax.tree.flatten(updates)
    arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    held = jax.lax.optimization_barrier([leaves[i] for i in arrays])
    for i, leaf in zip(arrays, held, strict=True):
        leaves[i] = leaf
    return treedef.unflatten(leaves)


def _offsets(starts: Sequence[int], begin: Array) -> dict[int, Array]:
    """Give each start as an array; on CPU as one whose value the compiler does not know."""

    def known() -> list[Array]:
        return [jnp.asarray(start, jnp.uint32) for start in starts]

    def hidden() -> list[Array]:
        # A kernel is compiled for each offset that is known at compile time, which takes seconds
        # for hundreds of leaves. Behind a condition the offsets are known at run time only, and
        # leaves of one shape share one kernel: compiling is as quick as without packing.
        return jax.lax.cond(begin == 0, known, lambda: [jnp.zeros((), jnp.uint32) for _ in starts])

    found = jax.lax.platform_dependent(cpu=hidden, default=known)
    return dict(zip(starts, found, strict=True))
