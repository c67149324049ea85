"""`cache`: keep samples in memory once they have been read."""

import threading
from typing import Any

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.datasets.transform import owned
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["cache"]


class _CachedDataset(DerivedDataset):
    def __init__(self, dataset: Any, capacity: int | None) -> None:
        self.dataset = dataset
        self.capacity = capacity
        self._samples: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        found = self._samples.get(index)
        if found is None:
            # What is kept must not depend on who asked first: the generator of epoch 0 every time.
            found = read_sample(self.dataset, index, SampleRng(0, 0, index))
            with self._lock:
                if self.capacity is None or len(self._samples) < self.capacity:
                    self._samples[index] = found
        # A transform may write into what it gets, but what is kept has to stay as it is.
        return owned(found)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "capacity": self.capacity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"cache({dataset_name(self.dataset)})"


def cache(dataset: Any, capacity: int | None = None) -> Any:
    """Keep samples in memory once they have been read; put it before the random transforms.

    Threads share the memory; each worker process has its own.

    Args:
        dataset: any dataset; its random transforms are done once, not every epoch.
        capacity: how many samples to keep; all when left out.

    Returns:
        A dataset.

    Example:
        >>> reads = []
        >>> dataset = data.cache(data.map(lambda x: reads.append(x) or x, [1, 2]))
        >>> dataset[0], dataset[0], reads
        (1, 1, [1])
    """
    return _CachedDataset(dataset, capacity)
