"""`zip`: read datasets side by side, to the end of the shortest."""

from collections.abc import Sequence
from typing import Any

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["zip"]


class _ZippedDataset(DerivedDataset):
    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = tuple(datasets)

    def __len__(self) -> int:
        return min(len(dataset) for dataset in self.datasets)

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        return tuple(read_sample(dataset, index, sample_rng) for dataset in self.datasets)

    def __repr__(self) -> str:
        return f"zip({', '.join(map(dataset_name, self.datasets))})"


def zip(*datasets: Any) -> Any:
    """Read datasets side by side, as tuples, to the end of the shortest.

    Args:
        *datasets: at least one.

    Returns:
        A dataset of tuples.

    Raises:
        ValueError: there is no dataset.

    Example:
        >>> list(data.zip("abc", [1, 2]))
        [('a', 1), ('b', 2)]
    """
    if not datasets:
        raise ValueError("zip needs at least one dataset; got none")
    return _ZippedDataset(datasets)
