"""From the loader to the devices: transfers that overlap the step, and batches laid out over a mesh."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from funcnet.core.checks import check_positive
from funcnet.data.loading.containers import numpy_leaf
from funcnet.data.loading.pytorch_names import teaches

__all__ = ["prefetch_to_device"]


class DevicePrefetch:
    """What `prefetch_to_device` returns: an iterable of batches of JAX arrays."""

    def __init__(self, batches: Any, size: int, sharding: Any) -> None:
        self.batches = batches
        self.size = size
        self.sharding = sharding
        self.state: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Count the batches of the source."""
        return len(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position after the batch last given out, not the one last sent ahead."""
        return self.batches.state_dict() if self.state is None else self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next ``iter`` continue where a `state_dict` was taken."""
        self.batches.load_state_dict(state)
        self.state = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` begins."""
        self.batches.set_epoch(epoch)
        self.state = None

    def __iter__(self) -> "Iterator[Any]":
        source = iter(self.batches)
        self.state = self.source_state()  # where the source is now, not where it was before
        return _Ahead(self, source)

    def source_state(self) -> dict[str, Any] | None:
        """Return the position of the source, if it has one."""
        state_dict = getattr(self.batches, "state_dict", None)
        return None if state_dict is None else state_dict()


class _Ahead:
    """The iterator: it sends batches ahead, and keeps the position of the batch last given out.

    An error of the source waits until the batches before it have been given out. Like the source's
    own iterator it may go on after one, which a generator could not.
    """

    def __init__(self, owner: DevicePrefetch, source: Iterator[Any]) -> None:
        self.owner = owner
        self.source = source
        self.ahead: deque[tuple[Any, Any]] = deque()
        self.error: Exception | None = None  # what the source raised last; StopIteration, too

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> Any:
        owner = self.owner
        # By now the consumer has dispatched its step: these transfers run beside it.
        while self.error is None and len(self.ahead) < owner.size:
            try:
                batch = next(self.source)
                self.ahead.append((_put(batch, owner.sharding), owner.source_state()))
                del batch
            except Exception as error:
                self.error = error
        if self.ahead:
            batch, owner.state = self.ahead.popleft()
            return batch
        error, self.error = self.error, None
        assert error is not None
        if isinstance(error, StopIteration):
            owner.state = None
        try:
            raise error
        finally:
            del (
                error
            )  # its traceback refers to this frame, which refers to the source and its workers


@teaches("prefetch_to_device", {"device": "write sharding=device"})
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
        if hasattr(leaf, "__array__") and not isinstance(leaf, jax.Array):
            leaf = numpy_leaf(leaf, "a leaf of the batch")
        if not isinstance(leaf, (np.ndarray, np.generic)) or leaf.dtype.kind in "USO":
            return leaf
        leaf = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        if isinstance(target, jax.sharding.Sharding):
            return jax.make_array_from_process_local_data(target, leaf)
        return jax.device_put(leaf, target)

    if sharding is None or isinstance(sharding, (jax.sharding.Sharding, jax.Device)):
        return jax.tree.map(lambda leaf: put(leaf, sharding), batch)
    return jax.tree.map(lambda target, leaf: put(leaf, target), sharding, batch)
