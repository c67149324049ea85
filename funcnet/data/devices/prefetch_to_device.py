"""From the loader to the devices: transfers that overlap the step, and batches laid out over a mesh."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from funcnet.core.checks import check_positive
from funcnet.data.devices.padding import mark_rows
from funcnet.data.devices.process_shard import process_shard
from funcnet.data.loading.pytorch_names import teaches

__all__ = ["DevicePrefetch", "prefetch_marked", "prefetch_to_device"]


class DevicePrefetch:
    """What `prefetch_to_device` returns: an iterable of batches of JAX arrays."""

    def __init__(self, batches: Any, size: int, place: Callable[[Any], Any]) -> None:
        self.batches = batches
        self.size = size
        self.place = place
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
                self.ahead.append((owner.place(batch), owner.source_state()))
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
def prefetch_to_device(
    batches: Any, size: int = 2, *, sharding: Any = None, pad: bool = False
) -> DevicePrefetch:
    """Send batches to the devices ahead of time.

    Transfers are asynchronous: while the device computes a step, the next batches are on their way.
    The arrays belong to nobody else, so that a step may donate them.

    A sharding over the devices of several processes makes global arrays. Each process then loads its
    part of the rows: ``DataLoader(..., shard=sharding)``, or ``shard="process"`` where every process
    has rows of its own.

    Args:
        batches: a `DataLoader`, or any iterable of trees of arrays. Arrays that lie on the devices of
            their sharding already stay as they are.
        size: batches ahead; two is double buffering.
        sharding: a device or a ``jax.sharding.Sharding`` for every array, or a tree of them like
            the batch; of a mesh ``parallel.batch_sharding(mesh)``. Numbers without axes lie on every
            device.
        pad: fill batches whose rows the devices do not divide, or that are smaller than the first one,
            with copies of real rows, and say in every batch which rows are real, as ``pad_last`` of
            `DataLoader` does: ``batch["valid"]`` for a dict, one more item for a tuple.
            `training.supervised` honours it. Without it such a batch is refused, because a loss that
            does not look at ``"valid"`` would count rows twice.

    Returns:
        An iterable with the loader's ``len``, ``set_epoch``, ``state_dict`` and
        ``load_state_dict``; the state counts the batches given out, not those sent ahead. Leaves
        that are not arrays, such as text, stay as they are.

    Raises:
        ValueError: the devices do not divide a batch's rows, or the loader's ``shard`` is not the part
            that the sharding gives this process.

    Example:
        >>> loader = data.DataLoader(data.ArrayDataset(np.arange(6.0)), 3)
        >>> [float(batch.sum()) for batch in data.prefetch_to_device(loader)]
        [3.0, 12.0]
        >>> rows = fn.parallel.batch_sharding(fn.parallel.mesh(data=-1))
        >>> loader = data.DataLoader(data.ArrayDataset({"x": np.arange(10.0)}), 8)
        >>> [int(batch["valid"].sum()) for batch in data.prefetch_to_device(loader, sharding=rows, pad=True)]
        [8, 2]
    """
    check_positive("size", size)
    return _prefetch(batches, size, sharding, mark_rows if pad else None)


def prefetch_marked(
    batches: Any, sharding: Any, mark: Callable[[Any, Any, bool], Any] | None
) -> DevicePrefetch:
    """Send batches to the devices, and tell each its mask in a way of one's own.

    Args:
        batches: see `prefetch_to_device`.
        sharding: likewise.
        mark: ``mark(batch, valid, marked) -> batch``, see `mark_rows`; None: batches are not filled.

    Example:
        >>> from funcnet.data.devices.prefetch_to_device import prefetch_marked
        >>> pair = lambda batch, valid, marked: (batch, valid)
        >>> [valid.tolist() for _, valid in prefetch_marked([np.ones(2), np.ones(1)], None, pair)]
        [[True, True], [True, False]]
    """
    return _prefetch(batches, 2, sharding, mark)


def _prefetch(batches: Any, size: int, sharding: Any, mark: Any) -> DevicePrefetch:
    from funcnet.data.devices.placing import Placing

    place = Placing(
        sharding, mark is not None, getattr(batches, "pad_last", None), mark or mark_rows
    )
    _check_shard(batches, sharding)
    if mark is None:
        place.check_sizes(getattr(batches, "sizes", ()))
    return DevicePrefetch(batches, size, place)


def _check_shard(batches: Any, sharding: Any) -> None:
    """Meet a loader that gives each process the whole batch, or another's part."""
    given = getattr(batches, "shard", None)
    if given is None or not hasattr(sharding, "device_set"):
        return
    wanted = process_shard(sharding)
    if given != wanted:
        raise ValueError(
            f"the loader has shard={given}, but of the rows of a batch under {sharding} this process holds part "
            f"{wanted[0]} of {wanted[1]}: write DataLoader(..., shard=sharding), which works on one process too"
        )
