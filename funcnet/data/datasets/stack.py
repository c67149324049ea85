"""`StackDataset`: datasets of one length side by side."""

from typing import Any

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["StackDataset"]


class StackDataset(DerivedDataset):
    """Datasets side by side: sample ``i`` is a tuple, or a dict, of each one's sample ``i``.

    Args:
        *datasets: of one length; samples are tuples.
        **named: the same with names; samples are dicts.

    Raises:
        ValueError: there is no dataset, both kinds are given, or the lengths differ.

    Example:
        >>> data.StackDataset("ab", [1, 2])[1]
        ('b', 2)
        >>> data.StackDataset(letter="ab", number=[1, 2])[0]
        {'letter': 'a', 'number': 1}
    """

    def __init__(self, *datasets: Any, **named: Any) -> None:
        if bool(datasets) == bool(named):
            raise ValueError("StackDataset needs datasets either by position or by name")
        self.datasets: Any = datasets or named
        lengths = [len(dataset) for dataset in self._parts()]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"StackDataset needs datasets of one length; got {lengths}."
                " data.zip(...) ends with the shortest."
            )
        self.length = lengths[0]

    def _parts(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        """Read the same index of each."""
        if isinstance(self.datasets, dict):
            return {
                name: read_sample(part, index, sample_rng) for name, part in self.datasets.items()
            }
        return tuple(read_sample(part, index, sample_rng) for part in self.datasets)

    def __repr__(self) -> str:
        return f"StackDataset({', '.join(map(dataset_name, self._parts()))})"
