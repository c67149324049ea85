"""`map`: apply a function to each sample of a dataset or stream, when it is read."""

from collections.abc import Callable
from typing import Any

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.datasets.transform import Transform, as_transform, owned
from funcnet.data.order.sample_rng import SampleRng
from funcnet.data.streams.as_stream import add_transform, is_indexed

__all__ = ["MappedDataset", "map"]


class MappedDataset(DerivedDataset):
    """The dataset that `map` returns."""

    def __init__(self, transform: Transform, dataset: Any) -> None:
        self.transform = transform
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        """Read and transform."""
        sample = read_sample(self.dataset, index, sample_rng)
        if not isinstance(self.dataset, MappedDataset):  # what a transform made is its own already
            sample = owned(sample)
        return self.transform(sample, sample_rng)

    def __repr__(self) -> str:
        return f"map({self.transform.name}, {dataset_name(self.dataset)})"


def map(function: Callable[..., Any], dataset: Any) -> Any:
    """Apply a function to each sample, when it is read.

    Args:
        function: ``function(sample)``, or ``function(sample, rng)`` for a random one: ``rng`` is a
            NumPy generator that depends on the loader's seed, the epoch and the index alone. It
            gets a copy of the sample, which it may change in place.
        dataset: any dataset, stream or iterable.

    Returns:
        A dataset of the same length; of a stream, or of an iterable, a stream.

    Raises:
        TypeError: the dataset came first, or the function cannot be called.

    Example:
        >>> data.map(lambda x: x * 10, [1, 2, 3])[1]
        20
    """
    transform = as_transform("map", function, dataset)
    if is_indexed(dataset):
        return MappedDataset(transform, dataset)
    return add_transform(dataset, transform, "map")
