"""The loader: an iterable of batches whose order, position and randomness are small and exact."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Generic

from funcnet.core.checks import (
    check_choice,
    check_count,
    check_non_negative,
    check_positive,
)
from funcnet.data.datasets.transform import Transform
from funcnet.data.devices.process_shard import Shard, process_shard
from funcnet.data.loading.arguments import check_arguments, check_transforms
from funcnet.data.loading.batches import StreamBatches, dataset_batches
from funcnet.data.loading.epoch import Batch, Batches, Epoch, LoaderPosition
from funcnet.data.loading.profiling import Profile, profile_epoch
from funcnet.data.loading.pytorch_names import LOADER, teaches
from funcnet.data.loading.work import BatchFinisher, BatchWork, StreamWork
from funcnet.data.order.batch_plan import BatchPlan, ListBatchPlan
from funcnet.data.order.batch_samplers import as_batches
from funcnet.data.order.fingerprint import order_fingerprint
from funcnet.data.order.permutation import Order, Permutation, SequentialOrder
from funcnet.data.order.samplers import as_order
from funcnet.data.streams.as_stream import add_transform, as_stream, is_indexed
from funcnet.data.streams.base import Reading, Stream
from funcnet.data.streams.sequential import SequentialStream
from funcnet.data.workers.runner import TaskRunner

__all__ = ["DataLoader"]

_VERSION = 2  # of `state_dict`
_KIND = 80  # characters of a stream's kind in a state


class DataLoader(Generic[Batch]):
    """Iterate over a dataset in batches of NumPy arrays.

    The order of the samples, and the randomness of each, are pure functions of ``(seed, epoch)``,
    whatever the number of workers. Each ``iter`` begins the next epoch; `set_epoch` chooses one.
    Batches are yours: aligned arrays that are never written again while anything refers to them.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``, or a stream (``__iter__``).
        batch_size: samples a batch, over all hosts together.
        shuffle: whether each epoch has a global random order of its own; of a stream made by
            `filter`, `flat_map` or `pack`, the dataset that it reads is shuffled.
        sampler: what to visit instead: a `Sampler` or any iterable of indices, which is iterated
            once an epoch. A position within an epoch resumes only if the order comes out the same
            again: that of a `Sampler` does, that of PyTorch's ``RandomSampler`` does not.
        batch_sampler: likewise, whole batches: any iterable of lists of indices.
        num_workers: how many threads or processes make batches ahead of time; 0 for none. A stream
            that can only be iterated is read by one thread of its own, and they do what `map`,
            `filter`, `flat_map` and ``transforms`` ask of its samples.
        collate: ``collate(samples)`` instead of `data.collate`.
        drop_last: leave out an incomplete last batch.
        timeout: seconds to wait for a batch from the workers; 0 waits for ever.
        workers: ``"thread"``, right when the work is in NumPy, Pillow or files, or ``"process"``,
            right when it is in Python itself. Processes are never forked and do not run the main
            program again; functions from it are sent to them. Threads share the dataset: a file that
            one of its attributes holds open, with a position to read at, is refused unless a lock
            lies beside it.
        prefetch: batches ahead, for each worker.
        persistent_workers: keep the processes from one epoch to the next, as long as the dataset and
            the transforms stay as they are.
        pad_last: fill an incomplete last batch with copies, and say in each batch which rows are
            real, with a boolean array: ``batch["valid"]`` for a dict, one more item for a tuple.
        seed: of the order and of the samples' randomness.
        epoch: the first epoch.
        shard: ``(index, count)``: which of how many equal parts of every batch this process makes;
            ``"process"``: one part for each process of JAX; or the sharding of the batches on the
            devices: the part that it gives this process.
        transforms: functions of a sample, ``f(sample)`` or ``f(sample, rng)``; the generator
            depends on (seed, epoch, index) alone. They get samples of their own, which they may
            change in place.
        batch_transforms: the same for whole batches; their generator depends on (seed, epoch,
            position, shard).

    Raises:
        ValueError: an argument is out of range, or two exclude each other.
        TypeError: the dataset can neither be indexed nor iterated.

    Example:
        >>> dataset = data.ArrayDataset({"x": np.arange(10.0), "y": np.arange(10)})
        >>> loader = data.DataLoader(dataset, batch_size=4, shuffle=True, seed=0)
        >>> len(loader), [batch["x"].shape for batch in loader]
        (3, [(4,), (4,), (2,)])

    Reference:
        https://docs.pytorch.org/docs/stable/data.html
    """

    @teaches("DataLoader", LOADER, positional=8)  # the next of PyTorch's is pin_memory
    def __init__(
        self: "DataLoader[Any]",  # batches are of any kind, unless the caller annotates the loader
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate: Callable[[list[Any]], Any] | None = None,
        *,
        drop_last: bool = False,
        timeout: float = 0,
        workers: str = "thread",
        prefetch: int = 2,
        persistent_workers: bool = False,
        pad_last: bool = False,
        seed: int = 0,
        epoch: int = 0,
        shard: Shard = (0, 1),
        transforms: Sequence[Callable[..., Any]] = (),
        batch_transforms: Sequence[Callable[..., Any]] = (),
    ) -> None:
        for name, count in (
            ("batch_size", batch_size),
            ("prefetch", prefetch),
            ("num_workers", num_workers),
        ):
            check_count(name, count)
        check_positive("batch_size", batch_size)
        check_positive("prefetch", prefetch)
        check_choice("workers", workers, ("thread", "process"))
        for name, value in (
            ("num_workers", num_workers),
            ("timeout", timeout),
            ("seed", seed),
            ("epoch", epoch),
        ):
            check_non_negative(name, value)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.pad_last = pad_last
        self.seed = seed
        self.epoch = epoch
        self.shard = process_shard(shard)
        check_arguments(self)
        self._last = "drop" if drop_last else "pad" if pad_last else "keep"
        self._start: dict[str, Any] = {"position": 0}
        self._position: LoaderPosition | None = None
        self._plan: tuple[int, BatchPlan | ListBatchPlan] | None = None
        self._fingerprint: tuple[int, str] | None = None
        check_transforms("transforms", transforms)
        check_transforms("batch_transforms", batch_transforms)
        sample_transforms = [Transform(function) for function in transforms]
        finisher = BatchFinisher(
            collate, [Transform(f) for f in batch_transforms], pad_last, self.shard[0]
        )
        self._stream = self._as_stream(sample_transforms)
        if self._stream is None:
            work: Any = BatchWork(dataset, sample_transforms, finisher)
        else:
            assert self._stream.parallel_part is not None  # `_as_stream` sees to it
            work = StreamWork(self._stream.parallel_part)
        self._runner = TaskRunner(work, num_workers, workers, prefetch, timeout, persistent_workers)
        self._finisher = finisher

    def _as_stream(self, transforms: list[Transform]) -> Stream | None:
        if is_indexed(self.dataset):
            samples = self._samples()
            if samples is not None and self.batch_sampler is None:
                self._plan_of(SequentialOrder(samples))  # checks that shards are of one size
            return None
        stream = as_stream(self.dataset)
        for transform in transforms:
            stream = add_transform(stream, transform, "map")
        if self.sampler is not None or self.batch_sampler is not None:
            raise ValueError("a stream has no indices: it takes no sampler or batch_sampler")
        if self.shard[1] > 1 and self._last == "keep":
            raise ValueError(
                "a stream may leave an incomplete last batch, which cannot be split over"
                f" {self.shard[1]} shards; pass drop_last=True or pad_last=True"
            )
        if stream.parallel_part is None:
            stream = SequentialStream(stream)
        if self.shuffle and isinstance(stream.parallel_part, SequentialStream):
            raise ValueError(
                f"{stream!r} can only be iterated, in its own order: it takes no shuffle. Datasets"
                " with __len__ and __getitem__ can be shuffled."
            )
        return stream

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` begins.

        Args:
            epoch: a non-negative integer. That of a position just restored keeps the position.
        """
        check_non_negative("epoch", epoch)
        if epoch == self.epoch and self._position is None:
            return  # nothing was begun since this epoch was chosen, or restored with a position in it
        self.epoch, self._start, self._position = epoch, {"position": 0}, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position: a small dict of numbers, to be saved between any two batches.

        It counts the batches that the latest iterator has given out, however many were made ahead.

        Returns:
            What `load_state_dict` takes, of a loader with the same dataset, order and seed. Numbers
            of workers and of shards may differ, and the batch size, except with a batch sampler.
        """
        epoch, state = self.epoch, self._start
        if self._position is not None:
            epoch, state = self._position.epoch, self._position.state
        found = {"version": _VERSION, "seed": self.seed, "epoch": epoch, **self._kind(), **state}
        sampled = self.sampler is not None or self.batch_sampler is not None
        if sampled and state["position"]:
            found["fingerprint"] = self._fingerprint_of(epoch)
        return found

    def _kind(self) -> dict[str, Any]:
        """Say what a position of this loader is a position in."""
        order = f"shuffle={self.shuffle}"
        for name in ("sampler", "batch_sampler"):
            order = order if getattr(self, name) is None else name
        if self._stream is None:
            return {"order": order, "length": len(self.dataset)}
        kind = self._stream.position_kind()
        if len(kind) > _KIND:
            kind = f"{kind[:_KIND]}… {blake2b(kind.encode(), digest_size=8).hexdigest()}"
        return {"order": order, "stream": kind}

    def _fingerprint_of(self, epoch: int) -> str:
        if self._fingerprint is None or self._fingerprint[0] != epoch:
            self._fingerprint = epoch, order_fingerprint(self._drawn(epoch))
        return self._fingerprint[1]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next ``iter`` continue exactly where a `state_dict` was taken.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: it was taken with another seed, order or number of samples, by another
                release, or its sampler does not give the order again that it was taken in.
        """
        for name, value in {"version": _VERSION, "seed": self.seed, **self._kind()}.items():
            if state.get(name) != value:
                raise ValueError(
                    f"the loader's state has {name}={state.get(name)!r}; this loader has"
                    f" {name}={value!r}: its order would not be the same"
                )
        before = self._plan, self._fingerprint
        self._plan = self._fingerprint = None
        epoch = state["epoch"]
        if "fingerprint" in state and self._fingerprint_of(epoch) != state["fingerprint"]:
            name = type(self.sampler or self.batch_sampler).__name__
            self._plan, self._fingerprint = before
            raise ValueError(
                f"the state is a position in an order of epoch {epoch} that this loader's {name} does"
                " not give: it is another sampler, or one whose order depends on more than (seed,"
                " epoch), as PyTorch's RandomSampler, and cannot be resumed. Take shuffle=True or"
                " data.RandomSampler."
            )
        self.epoch, self._position = epoch, None
        self._start = {name: state[name] for name in ("position", "inner") if name in state}

    def _samples(self) -> int | None:
        """Count what a position counts, samples or batches; ``None`` if the sampler has no length."""
        source = self.dataset
        for sampler in (self.sampler, self.batch_sampler):
            source = source if sampler is None else sampler
        return len(source) if hasattr(source, "__len__") else None

    def _drawn(self, epoch: int) -> BatchPlan | ListBatchPlan:
        """Return the plan of an epoch; the latest is kept, as a sampler may give another next time."""
        if self._plan is None or self._plan[0] != epoch:
            self._plan = epoch, self._batch_plan(epoch)
        return self._plan[1]

    def _plan_of(self, order: Order, epoch: int = 0) -> BatchPlan:
        length = len(self.dataset)
        return BatchPlan(order, self.batch_size, self._last, self.shard, length, epoch, self.seed)

    def _batch_plan(self, epoch: int) -> BatchPlan | ListBatchPlan:
        length = len(self.dataset)
        if self.batch_sampler is not None:
            lists = as_batches(self.batch_sampler, self.seed, epoch)
            return ListBatchPlan(lists, length, epoch, self.seed)
        if self.sampler is not None:
            order: Order = as_order(self.sampler, self.seed, epoch)
        elif self.shuffle:
            order = Permutation(length, self.seed, epoch)
        else:
            order = SequentialOrder(length)
        return self._plan_of(order, epoch)

    def __len__(self) -> int:
        """Count the batches of a whole epoch.

        Raises:
            TypeError: only reading tells, because the dataset is a stream or the sampler has no
                ``__len__``.
        """
        samples = self._samples() if self._stream is None else self._stream.length_if_known()
        if samples is None:
            unknown = self.sampler or self.batch_sampler or f"{self._stream!r} is a stream:"
            raise TypeError(f"{unknown} has no __len__: its length is not known beforehand")
        if self.batch_sampler is not None:
            return samples
        full, rest = divmod(samples, self.batch_size)
        return full + (rest > 0 and self._last != "drop")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of rows that this process's batches can have, as far as known beforehand."""
        plain = self.batch_sampler is None and self._finisher.plain
        samples = self._samples() if plain and self._stream is None else None
        if samples is None:
            return ()
        full, rest = divmod(samples, self.batch_size)
        last = {"drop": 0, "pad": self.batch_size, "keep": rest}[self._last] if rest else 0
        whole = (size for size in (self.batch_size if full else 0, last) if size)
        return tuple(size // self.shard[1] for size in whole)

    def __iter__(self) -> Epoch[Batch]:
        """Begin the next epoch, or continue where `load_state_dict` says."""
        epoch = self._epoch_of_dataset() if self._stream is None else self._epoch_of(self._stream)
        self.epoch, self._start = self.epoch + 1, {"position": 0}
        return epoch

    def _epoch_of_dataset(self) -> Epoch[Batch]:
        start = self._start["position"]
        if not start:
            self._plan = self._fingerprint = None
        remaining = self._drawn(self.epoch).batches(start)
        if start and not remaining:  # saved by a loader that made another batch of what is left
            self.epoch, start = self.epoch + 1, 0
            remaining = self._drawn(self.epoch).batches()
        self._position = LoaderPosition(self.epoch, {"position": start})
        batches = dataset_batches(self._drawn(self.epoch), self._runner, start)
        return Epoch(batches, self._position, remaining)

    def _epoch_of(self, stream: Stream) -> Epoch[Batch]:
        maker = StreamBatches(
            stream, self._runner, self.batch_size, self._last, self.shard, self._finisher
        )
        epoch, start = self.epoch, self._start
        self._position = LoaderPosition(epoch, start)

        def restart() -> Batches:
            """Begin the next epoch: the position was at the end, which only reading could tell."""
            self.epoch = max(self.epoch, epoch + 2)
            return maker.run(Reading(self.seed, epoch + 1, self.shuffle), {"position": 0})

        batches = maker.run(Reading(self.seed, epoch, self.shuffle), start)
        return Epoch(batches, self._position, None, restart if start["position"] else None)

    def profile(self, batches: int | None = None) -> Profile:
        """Measure where the time goes in an epoch; the next ``iter`` begins another.

        Args:
            batches: how many to measure; the whole epoch when left out.

        Returns:
            Seconds spent reading, transforming, collating and waiting; ``print`` shows a table.

        Example:
            >>> dataset = data.map(lambda x: x + 1, range(100))
            >>> print(data.DataLoader(dataset, 10).profile())  # doctest: +ELLIPSIS
            stage ...
        """
        return profile_epoch(iter(self), batches, max(self.num_workers, 1))

    def close(self) -> None:
        """End worker processes that `persistent_workers` keeps; iterating again starts new ones."""
        self._runner.close()
