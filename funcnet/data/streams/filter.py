"""`filter`: keep some samples of a dataset or stream."""

from collections.abc import Callable
from typing import Any

from funcnet.data.datasets.transform import as_transform
from funcnet.data.streams.as_stream import add_transform
from funcnet.data.streams.base import Stream

__all__ = ["filter"]


def filter(function: Callable[..., Any], dataset: Any) -> Stream:
    """Keep the samples for which a function returns true.

    Args:
        function: ``function(sample)`` or ``function(sample, rng)``, as in `data.map`.
        dataset: any dataset, stream or iterable.

    Returns:
        A stream: how long it is, only reading tells. To have a length and global random access,
        compute the indices once and use `Subset`.

    Raises:
        TypeError: the dataset came first, or the function cannot be called.

    Example:
        >>> list(data.filter(lambda x: x % 2 == 0, range(6)))
        [0, 2, 4]
    """
    return add_transform(dataset, as_transform("filter", function, dataset), "filter")
