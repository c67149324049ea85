"""Streams over a dataset with indices: shuffled globally, read and transformed by workers."""

from collections.abc import Iterator, Sequence
from typing import Any

from funcnet.data.datasets.base import dataset_name, read_sample
from funcnet.data.order.batch_plan import BatchPlan
from funcnet.data.order.permutation import Permutation, SequentialOrder
from funcnet.data.order.sample_rng import SampleRng
from funcnet.data.streams.base import ParallelStream, Reading, StreamState, StreamTransform

__all__ = ["IndexedStream"]


class IndexedStream(ParallelStream):
    """The samples of a dataset with indices, each transformed on its own.

    Its state is (position in the order of the source's samples, samples given of that one).

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``.
        transforms: what is done with each sample of it.
    """

    def __init__(self, dataset: Any, transforms: Sequence[StreamTransform] = ()) -> None:
        super().__init__(transforms)
        self.dataset = dataset

    @property
    def parallel_part(self) -> ParallelStream:
        """Itself."""
        return self

    def expand(self, source: int, sample_rng: SampleRng) -> list[Any]:
        """Read the source sample at an index, and transform it."""
        return self.transformed(read_sample(self.dataset, source, sample_rng), sample_rng)

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Go through the source in the reading's order."""
        position, skip = (state["position"], state["offset"]) if state else (0, 0)
        length = len(self.dataset)
        if reading.shuffle:
            order = Permutation(length, reading.seed, reading.epoch)
        else:
            order = SequentialOrder(length)
        plan = BatchPlan(order, reading.chunk, "keep", (0, 1), length, reading.epoch, reading.seed)
        for task, groups in reading.run(self, plan.tasks(position)):
            for source, group in enumerate(groups, task.start):
                for offset, sample in enumerate(group[skip:], skip + 1):
                    yield sample, {"position": source, "offset": offset}
                skip = 0

    def length_if_known(self) -> int | None:
        """Return the length of the dataset, unless transforms change it."""
        return len(self.dataset) if self.keeps_length else None

    def position_kind(self) -> str:
        """Name the dataset's length, and the transforms that change how many samples there are."""
        return self.kind_over(f"{len(self.dataset)} samples")

    def __repr__(self) -> str:
        return self.described(dataset_name(self.dataset))
