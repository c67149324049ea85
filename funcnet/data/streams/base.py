"""What a stream is, and how it is read.

Every sample of a stream comes with the small state from which the stream goes on after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from funcnet.data.datasets.transform import Transform, owned
from funcnet.data.loading.errors import Failure, sample_error
from funcnet.data.order.batch_plan import Task
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["ParallelStream", "Reading", "Stream", "StreamState", "StreamTransform"]

StreamState: TypeAlias = dict[str, Any]
"""Where a stream goes on: a small dict of numbers."""

_Run: TypeAlias = Callable[
    ["ParallelStream", Iterator[Task]], Iterator[tuple[Task, list[list[Any]]]]
]


def _run_here(
    stream: "ParallelStream", tasks: Iterator[Task]
) -> Iterator[tuple[Task, list[list[Any]]]]:
    for task in tasks:
        indices = task.indices.tolist()
        yield task, [stream.expanded(i, SampleRng(task.seed, task.epoch, i)) for i in indices]


@dataclass(frozen=True)
class Reading:
    """How a stream is read: its randomness, its order, and who transforms its samples."""

    seed: int = 0
    epoch: int = 0
    shuffle: bool = False
    chunk: int = 32
    """Source samples in a task."""
    run: _Run = _run_here
    """Does tasks, and yields for each the list of samples that each source sample becomes."""
    on_workers: "Stream | None" = None
    """The part of the stream whose source samples are read here and transformed by workers."""


class Stream(ABC):
    """A dataset that can only be iterated, from the start or from a state on."""

    @abstractmethod
    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Yield each sample after a state (``None``: from the start) with the state after it.

        A `Failure` stands in the place of a sample whose transform failed.
        """

    def length_if_known(self) -> int | None:
        """Return how many samples there are, where that is known beforehand."""
        return None

    def position_kind(self) -> str:
        """Name what a position in the stream is a position in: another stream has another name."""
        return type(self).__name__

    @property
    def parallel_part(self) -> "ParallelStream | None":
        """The part of the stream that workers can do in parallel, if there is one."""
        return None

    def __iter__(self) -> Iterator[Any]:
        for sample, _ in self.iterate(Reading(), None):
            if isinstance(sample, Failure):
                raise sample.error
            yield sample


class StreamTransform(NamedTuple):
    """A transform of a stream's samples, and what becomes of its results."""

    kind: str
    """``"map"``, ``"filter"`` or ``"flat_map"``."""
    transform: Transform

    def results(self, sample: Any, sample_rng: SampleRng) -> Iterable[Any]:
        """Return the samples that one sample becomes."""
        result = self.transform(sample, sample_rng)
        if self.kind == "flat_map":
            return result
        if self.kind == "filter":
            return [sample] if result else []
        return [result]


class ParallelStream(Stream):
    """A stream whose samples each come from one source sample, so that workers can make them.

    Args:
        transforms: what is done with each source sample, in this order.
    """

    def __init__(self, transforms: Sequence[StreamTransform] = ()) -> None:
        self.transforms = list(transforms)

    @abstractmethod
    def expand(self, source: Any, sample_rng: SampleRng) -> list[Any]:
        """Return the samples that one source sample becomes.

        Args:
            source: its index where the source has indices, otherwise the sample itself.
            sample_rng: the generator of its transforms.
        """

    def expanded(self, source: Any, sample_rng: SampleRng) -> list[Any]:
        """Return the samples that one source sample becomes, or the `Failure` to make them."""
        if isinstance(source, Failure):  # of a stream further in
            return [source]
        try:
            return list(self.expand(source, sample_rng))
        except Exception as error:
            failed = sample_error(repr(self), sample_rng, error)
            failed.__cause__ = error
            return [Failure(failed)]

    def transformed(self, sample: Any, sample_rng: SampleRng) -> list[Any]:
        """Apply all transforms to one source sample."""
        samples = [owned(sample) if self.transforms else sample]
        for transform in self.transforms:
            # Not lazily: each transform sees all samples of one source sample before the next one
            # does, so that they ask the shared generator in the same order whoever reads.
            samples = [result for one in samples for result in transform.results(one, sample_rng)]
        return samples

    @property
    def keeps_length(self) -> bool:
        """Whether there are as many samples as in the source."""
        return all(kind == "map" for kind, _ in self.transforms)

    def kind_over(self, source: str) -> str:
        """Write the calls around the name of a source, except those of `map`: they move nothing."""
        for kind, _ in self.transforms:
            source = source if kind == "map" else f"{kind}({source})"
        return source

    def described(self, source: str) -> str:
        """Write down the calls that made the stream out of its source."""
        for kind, transform in self.transforms:
            source = f"{kind}({transform.name}, {source})"
        return source
