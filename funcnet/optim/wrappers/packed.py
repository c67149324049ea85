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

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_none, is_trainable
from funcnet.core.paths import leaves_with_paths
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, with_extra

__all__ = ["PackedState", "packed"]


class PackedState(NamedTuple):
    """State of `packed`: where buffers begin (always 0), and the inner state.

    The inner optimizer's pytrees have a list of buffers for each dtype under ``"packed"``, and the
    large leaves by their dotted paths under ``"alone"``.
    """

    begin: Array
    inner: PyTree


def packed(optimizer: GradientTransformation, limit: int = 16384) -> GradientTransformation:
    """Run an optimizer on its small leaves as a few flat buffers of each dtype.

    The parameters and updates keep their structure; only the state is laid out differently. The
    results are the same numbers. It pays for trees of dozens of small leaves and more; leaves
    larger than ``limit`` stay as they are, for copying them would cost more than it saves.

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
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> PackedState:
        layout = _Packing(params, limit)
        return PackedState(jnp.zeros((), jnp.int32), optimizer.init(layout.pack(params)))

    def update(
        grads: PyTree, state: PackedState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PackedState]:
        layout = _Packing(grads if params is None else params, limit)
        extra = {n: layout.pack(v) if layout.fits(v) else v for n, v in extra.items()}
        own_params = None if params is None else layout.pack(params)
        updates, inner = inner_update(layout.pack(grads), state.inner, own_params, **extra)
        # The barrier keeps the arithmetic in one pass: fused into each copy, it would run slower.
        updates = jax.lax.optimization_barrier(updates)
        return layout.unpack(updates, state.begin), PackedState(state.begin, inner)

    return GradientTransformation(init, update)


class _Packing:
    """Which leaves go into which buffer, and where."""

    def __init__(self, tree: PyTree, limit: int) -> None:
        self.treedef = jax.tree.structure(tree, is_leaf=is_none)
        pairs = leaves_with_paths(tree, is_leaf=is_none)
        self.names = [path for path, _ in pairs]
        self.shapes = [jnp.shape(leaf) if leaf is not None else () for _, leaf in pairs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        small: dict[str, list[int]] = {}
        for i, (_, leaf) in enumerate(pairs):
            if is_trainable(leaf) and self.sizes[i] <= limit:
                small.setdefault(str(jnp.result_type(leaf)), []).append(i)
        filled = {dtype: self._fill(members, limit) for dtype, members in small.items()}
        self.buffers = {dtype: buffers for dtype, buffers in filled.items() if buffers}
        taken = {i for buffers in self.buffers.values() for members in buffers for i in members}
        self.alone = [i for i in range(len(pairs)) if i not in taken]

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
        return jax.tree.structure(tree, is_leaf=is_none) == self.treedef

    def pack(self, tree: PyTree) -> dict[str, Any]:
        leaves = self.treedef.flatten_up_to(tree)
        found = {
            dtype: [jnp.concatenate([jnp.ravel(leaves[i]) for i in members]) for members in buffers]
            for dtype, buffers in self.buffers.items()
        }
        return {"packed": found, "alone": {self.names[i]: leaves[i] for i in self.alone}}

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
