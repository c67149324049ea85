"""Making one batch: read the samples, transform and collate them. Every worker runs this."""

from typing import Any

from funcnet.data.buffers import Allocate
from funcnet.data.collate import collate
from funcnet.data.plan import Task

__all__ = ["Fetcher"]


class Fetcher:
    """Turn tasks into batches.

    Args:
        dataset: anything with ``__getitem__``; with ``gather(indices, allocate)`` whole batches are
            read at once.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.gather = getattr(dataset, "gather", None)

    def __call__(self, task: Task, allocate: Allocate) -> Any:
        """Make the batch of a task in memory that `allocate` gives."""
        if self.gather is not None:
            return self.gather(task.indices, allocate)
        return collate([self.dataset[index] for index in task.indices.tolist()], allocate)
