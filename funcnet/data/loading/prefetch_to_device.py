"""From the loader to the devices: transfers that overlap the step, and batches laid out over a mesh."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from funcnet.core.checks import check_positive

__all__ = ["prefetch_to_device"]


class DevicePrefetch:
    """What `prefetch_to_device` returns: an iterable of batches of JAX arrays."""

    def __init__(self, batches: Any, size: int, sharding: Any) -> None:
        self.batches = batches
        self.size = size
        self.sharding = sharding
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Count the batches of the source."""
        return len(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position after the batch last given out, not the one last sent ahead."""
        return self.batches.state_dict() if self._state is None else self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next ``iter`` continue where a `state_dict` was taken."""
        self.batches.load_state_dict(state)
        self._state = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` begins."""
        self.batches.set_epoch(epoch)
        self._state = None

    def __iter__(self) -> Iterator[Any]:
        self._state = self._source_state()
        return self._run(iter(self.batches))

    def _run(self, source: Iterator[Any]) -> Iterator[Any]:
        ahead: deque[tuple[Any, Any]] = deque()
        more = True
        while True:
            # By now the consumer has dispatched its step: these transfers run beside it.
            while more and len(ahead) < self.size:
                try:
                    batch = next(source)
                except StopIteration:
                    more = False
                    break
                ahead.append((_put(batch, self.sharding), self._source_state()))
                del batch
            if not ahead:
                self._state = None
                return
            batch, self._state = ahead.popleft()
            yield batch
            del batch

    def _source_state(self) -> dict[str, Any] | None:
        state_dict = getattr(self.batches, "state_dict", None)
        return None if state_dict is None else state_dict()


def prefetch_to_device(batches: Any, size: int = 2, *, sharding: Any = None) -> DevicePrefetch:
    """Send batches to the devices ahead of time.

    Transfers are asynchronous: while the device computes a step, the next batches are on their way.
    The arrays belong to nobody else, so that a step may donate them.

    Args:
        batches: a `DataLoader`, or any iterable of trees of NumPy arrays.
        size: batches ahead; two is double buffering.
        sharding: a device or a ``jax.sharding.Sharding`` for every array, or a tree of them like
            the batch. A sharding over the devices of several hosts makes global arrays: each host
            then loads its part, with ``shard=(jax.process_index(), jax.process_count())``.

    Returns:
        An iterable with the loader's ``len``, ``set_epoch``, ``state_dict`` and
        ``load_state_dict``; the state counts the batches given out, not those sent ahead. Leaves
        that are not arrays, such as text, stay as they are.

    Example:
        >>> loader = data.DataLoader(data.ArrayDataset(np.arange(6.0)), 3)
        >>> [float(batch.sum()) for batch in data.prefetch_to_device(loader)]
        [3.0, 12.0]
    """
    check_positive("size", size)
    return DevicePrefetch(batches, size, sharding)


def _put(batch: Any, sharding: Any) -> Any:
    import jax

    def put(leaf: Any, target: Any) -> Any:
        if not isinstance(leaf, (np.ndarray, np.generic)) or leaf.dtype.kind in "USO":
            return leaf
        leaf = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        if isinstance(target, jax.sharding.Sharding):
            return jax.make_array_from_process_local_data(target, leaf)
        return jax.device_put(leaf, target)

    if sharding is None or isinstance(sharding, (jax.sharding.Sharding, jax.Device)):
        return jax.tree.map(lambda leaf: put(leaf, sharding), batch)
    return jax.tree.map(lambda target, leaf: put(leaf, target), sharding, batch)
