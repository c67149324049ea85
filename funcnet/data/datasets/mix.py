"""`mix`: interleave datasets in exact proportions, with indices where all of them have indices."""

import operator
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from funcnet.core.checks import check_choice, check_positive
from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.order.permutation import Permutation
from funcnet.data.order.sample_rng import SampleRng
from funcnet.data.streams.as_stream import as_stream, is_indexed
from funcnet.data.streams.base import Reading, Stream, StreamState

__all__ = ["mix"]


class _Shares:
    """Position ``i`` belongs to the first source iff ``floor((i + 1) w) > floor(i w)``.

    The others share the remaining positions by the same rule, so that both the source and the
    position within it follow from ``i`` alone.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = [Fraction(weight).limit_denominator(10**6) for weight in weights]
        # The share of each source in what the sources before it have left over.
        self.rest = [weight / sum(self.weights[k:]) for k, weight in enumerate(self.weights)]

    def counts(self, length: int) -> list[int]:
        """Count how often each source is read among the first positions."""
        counts = []
        for share in self.rest:
            counts.append(length * share.numerator // share.denominator)
            length -= counts[-1]
        return counts

    def locate(self, index: int) -> tuple[int, int]:
        """Say which source a position reads, and how often that was read before."""
        for which, share in enumerate(self.rest[:-1]):
            before = index * share.numerator // share.denominator
            if (index + 1) * share.numerator // share.denominator > before:
                return which, before
            index -= before
        return len(self.rest) - 1, index


class _MixedDataset(DerivedDataset):
    def __init__(
        self, datasets: Sequence[Any], shares: _Shares, stop: str, seed: int | None
    ) -> None:
        self.datasets = list(datasets)
        self.shares = shares
        self.seed = seed
        lengths = [len(dataset) for dataset in datasets]
        total = sum(shares.weights)
        pairs = zip(lengths, shares.weights, strict=True)
        ends = [length * total / weight for length, weight in pairs]
        self.length = int(min(ends) if stop == "shortest" else max(ends))
        # Rounding may be off by a few samples: step to where the counts really end.
        if stop == "shortest":
            while any(operator.gt(*pair) for pair in self._used(lengths)):
                self.length -= 1
        else:
            while any(operator.lt(*pair) for pair in self._used(lengths)):
                self.length += 1

    def _used(self, lengths: list[int]) -> Iterator[tuple[int, int]]:
        return zip(self.shares.counts(self.length), lengths, strict=True)

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        which, position = self.shares.locate(index)
        dataset = self.datasets[which]
        passes, position = divmod(position, len(dataset))
        if self.seed is not None:
            position = Permutation(len(dataset), self.seed, passes)[position]
        return read_sample(dataset, position, sample_rng)

    def __repr__(self) -> str:
        return f"mix({', '.join(map(dataset_name, self.datasets))})"


class _MixedStream(Stream):
    """The same for streams: position ``i`` takes the next sample of the source it belongs to."""

    def __init__(self, datasets: Sequence[Any], shares: _Shares) -> None:
        self.streams = [as_stream(dataset) for dataset in datasets]
        self.shares = shares

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        position = state["position"] if state else 0
        inner: list[StreamState | None] = [None] * len(self.streams)
        if state:
            inner = list(state["inner"])
        alone = Reading(reading.seed, reading.epoch, reading.shuffle, reading.chunk)
        sources = [
            stream.iterate(alone, start) for stream, start in zip(self.streams, inner, strict=True)
        ]
        while True:
            which, _ = self.shares.locate(position)
            try:
                sample, inner[which] = next(sources[which])
            except StopIteration:
                return
            position += 1
            yield sample, {"position": position, "inner": list(inner)}

    def position_kind(self) -> str:
        parts = [
            f"{weight} of {stream.position_kind()}"
            for weight, stream in zip(self.shares.weights, self.streams, strict=True)
        ]
        return f"mix({', '.join(parts)})"

    def __repr__(self) -> str:
        return f"mix({', '.join(map(repr, self.streams))})"


def mix(
    datasets: Sequence[Any],
    weights: Sequence[float] | None = None,
    *,
    stop: str = "shortest",
    seed: int | None = None,
) -> Any:
    """Interleave datasets in given proportions.

    The proportions hold exactly, not on average: after ``n`` samples each source has given its
    share of ``n`` to within a few samples. A source that ends earlier is read again.

    Args:
        datasets: at least one, none of them empty. If one is a stream, so is the result.
        weights: a positive number for each; equal when left out. They need not add up to one.
        stop: ``"shortest"`` ends when the first source is used up, ``"longest"`` when all are.
        seed: reads each source in an order of its own, another one at each pass. Leave it out when
            the loader shuffles.

    Returns:
        A dataset, or a stream of streams.

    Raises:
        ValueError: the weights do not fit the datasets.

    Example:
        >>> "".join(data.mix(["aaaaaa", "bbb"], [2, 1]))
        'baabaabaa'
    """
    weights = [1.0] * len(datasets) if weights is None else list(weights)
    if not datasets or len(weights) != len(datasets):
        raise ValueError(
            f"mix needs a weight for each of one or more datasets; got {len(datasets)} datasets and"
            f" {len(weights)} weights"
        )
    check_positive("weights", weights)
    check_choice("stop", stop, ("shortest", "longest"))
    if not all(map(is_indexed, datasets)):
        if stop != "shortest" or seed is not None:
            raise ValueError("a mix of streams ends with the shortest, and takes no seed")
        return _MixedStream(datasets, _Shares(weights))
    check_positive("lengths of the datasets", [len(dataset) for dataset in datasets])
    return _MixedDataset(datasets, _Shares(weights), stop, seed)
