"""`flat_map`: replace each sample of a dataset or stream by any number of samples."""

from collections.abc import Callable, Iterable
from typing import Any

from funcnet.data.datasets.transform import as_transform
from funcnet.data.streams.as_stream import add_transform
from funcnet.data.streams.base import Stream

__all__ = ["flat_map"]


def flat_map(function: Callable[..., Iterable[Any]], dataset: Any) -> Stream:
    """Replace each sample by any number of samples.

    Args:
        function: ``function(sample)`` or ``function(sample, rng)``, returning an iterable.
        dataset: any dataset, stream or iterable.

    Returns:
        A stream.

    Raises:
        TypeError: the dataset came first, or the function cannot be called.

    Example:
        >>> list(data.flat_map(str.split, ["a b", "c"]))
        ['a', 'b', 'c']
    """
    return add_transform(dataset, as_transform("flat_map", function, dataset), "flat_map")
