"""`Subset`: the samples of a dataset at some indices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.loading.batch_memory import Allocate, fresh
from funcnet.data.order.indices import as_indices
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Subset"]


class Subset(DerivedDataset):
    """The samples of a dataset at some indices.

    Args:
        dataset: any dataset.
        indices: integers in ``[-len(dataset), len(dataset))``.

    Raises:
        TypeError: the indices are no integers: of a mask, take ``np.flatnonzero(mask)``.
        IndexError: an index is out of range.

    Example:
        >>> list(data.Subset("abcdef", [4, 0]))
        ['e', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = as_indices("Subset", indices)
        length = len(dataset)
        if self.indices.size and not -length <= self.indices.min() <= self.indices.max() < length:
            raise IndexError(
                f"Subset needs indices in [{-length}, {length}); got {self.indices.min()} to"
                f" {self.indices.max()}"
            )
        self.indices = np.where(self.indices < 0, self.indices + length, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        """Read the sample that the index stands for."""
        return read_sample(self.dataset, int(self.indices[index]), sample_rng)

    @property
    def gather(self) -> Any:
        """``gather(indices, allocate)`` if the dataset has one, otherwise ``None``."""
        gather = getattr(self.dataset, "gather", None)
        if gather is None:
            return None

        def part(indices: np.ndarray, allocate: Allocate = fresh) -> Any:
            return gather(self.indices[as_indices("gather", indices)], allocate)

        return part

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {dataset_name(self.dataset)})"
