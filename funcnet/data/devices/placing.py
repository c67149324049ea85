"""One batch onto the devices: every array where its sharding says, whatever process it comes from."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from funcnet.data.devices.padding import Padding, filled, mark_rows, marked_rows
from funcnet.data.devices.process_shard import row_blocks, row_sharding
from funcnet.data.loading.containers import numpy_leaf

__all__ = ["Placing"]


class Placing:
    """Puts batches onto devices; what is there already, or is no array, such as text, stays as it is.

    Args:
        sharding: a device or sharding for every array, or a tree of them like the batch; None: the default device.
        pad: whether to fill batches, and to say in each which rows are real.
        marked: whether batches have a mask already; None: look at them.
        mark: how a batch is told its mask.
    """

    def __init__(
        self,
        sharding: Any,
        pad: bool = False,
        marked: bool | None = None,
        mark: Callable[[Any, Any, bool], Any] = mark_rows,
    ) -> None:
        self.sharding = sharding
        self.mark = mark
        self.marked = marked
        self.alike = sharding is None or isinstance(sharding, Sharding | jax.Device)
        spread = [one for one in jax.tree.leaves(sharding) if isinstance(one, Sharding)]
        mine = jax.process_index() if spread else 0
        self.blocks = {one: len(row_blocks(one).get(mine, [0])) for one in spread}
        alone = not spread or jax.process_count() == 1
        self.padding = Padding(math.lcm(*self.blocks.values()), alone) if pad else None
        by_rows = [
            rows for one in spread if (rows := row_sharding(one)) is not None and rows.spec[0]
        ]
        self.of_rows = by_rows[0] if by_rows else sharding if self.alike else None

    def __call__(self, batch: Any) -> Any:
        """Return the batch as JAX arrays."""
        leaves, tree = jax.tree.flatten(batch)
        targets: list[Any] = [None] * len(leaves)
        if self.sharding is not None:
            targets = jax.tree.leaves(jax.tree.broadcast(self.sharding, batch))
        if all(map(_is_there, leaves, targets)):
            return batch
        leaves = [_on_host(leaf, target) for leaf, target in zip(leaves, targets, strict=True)]
        if self.padding is None:
            return tree.unflatten(map(self._put, leaves, targets))
        mask = None if self.marked is False else marked_rows(batch)
        leaves, valid = self._filled(self.padding, leaves, targets, mask)
        made = tree.unflatten(map(self._put, leaves, targets))
        return self.mark(made, self._put(valid, self.of_rows), mask is not None)

    def check_sizes(self, sizes: Iterable[int]) -> None:
        """Raise for numbers of rows that batches will have, if the devices do not divide them."""
        for size in sizes if self.alike else ():
            for blocks in self.blocks.values():
                if size % blocks:
                    raise ValueError(_indivisible(size, blocks))

    def _filled(
        self, padding: Padding, leaves: list[Any], targets: list[Any], mask: Any
    ) -> tuple[list[Any], np.ndarray]:
        """Fill all arrays that have rows, and say which rows are real."""
        chosen = list(map(self._has_rows, leaves, targets))
        rows = {len(leaf) for leaf, has in zip(leaves, chosen, strict=True) if has}
        if len(rows) != 1:
            raise ValueError(
                "padding needs to know what the rows of a batch are: the first axes of its arrays, which should agree; "
                f"got {sorted(rows) or 'no arrays'}. Give an array that has no rows a sharding of its own: "
                "sharding={'x': rows, 'classes': whole}"
            )
        valid = padding.valid(rows.pop(), mask)
        pairs = zip(leaves, chosen, strict=True)
        return [filled(leaf, len(valid)) if has else leaf for leaf, has in pairs], valid

    def _has_rows(self, leaf: Any, target: Any) -> bool:
        if not isinstance(leaf, np.ndarray) or not leaf.ndim or leaf.dtype.kind in "USO":
            return False
        return self.alike or self._spreads_rows(target)

    def _spreads_rows(self, target: Any) -> bool:
        rows = row_sharding(target)
        return rows is None or rows.spec[0] is not None

    def _put(self, leaf: Any, target: Any) -> Any:
        if isinstance(leaf, jax.Array):
            return (
                leaf if target is None or _is_there(leaf, target) else jax.device_put(leaf, target)
            )
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind in "USO":
            return leaf
        leaf = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        if not isinstance(target, Sharding):
            return jax.device_put(leaf, target)
        if not leaf.ndim and isinstance(target, NamedSharding):
            target = NamedSharding(target.mesh, PartitionSpec())
        elif leaf.ndim and len(leaf) % self.blocks.get(target, 1):
            raise ValueError(_indivisible(len(leaf), self.blocks[target]))
        return jax.make_array_from_process_local_data(target, leaf)


def _is_there(leaf: Any, target: Any) -> bool:
    """Tell whether an array lies on the devices of a sharding already."""
    if not isinstance(leaf, jax.Array) or not isinstance(target, Sharding):
        return False
    return leaf.sharding.device_set == target.device_set


def _on_host(leaf: Any, target: Any) -> Any:
    """Return an array of any library as one of NumPy, if it is not where it should be."""
    if isinstance(leaf, jax.Array):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if target is None or is_key or _is_there(leaf, target) else np.asarray(leaf)
    if hasattr(leaf, "__array__"):
        leaf = numpy_leaf(leaf, "a leaf of the batch")
    return np.asarray(leaf) if isinstance(leaf, np.generic) else leaf


def _indivisible(rows: int, blocks: int) -> str:
    return (
        f"a batch has {rows} rows, which the {blocks} devices that share them do not divide. A last batch that is "
        "smaller: write DataLoader(..., pad_last=True), or drop_last=True. Every batch: let batch_size be a multiple "
        f'of {blocks}. Any batches: prefetch_to_device(..., pad=True). Padded batches say in "valid" which rows are '
        "real: training.supervised honours it, and so has a loss written by hand"
    )
