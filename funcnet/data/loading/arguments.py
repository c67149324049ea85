"""Arguments of a loader that exclude each other, met where the loader is made."""

from collections.abc import Mapping
from typing import Any

from funcnet.core.checks import check_divisible
from funcnet.data.datasets.transform import Transform
from funcnet.data.streams.as_stream import is_indexed

__all__ = ["check_arguments", "check_transforms"]


def check_arguments(loader: Any) -> None:
    """Raise for arguments that do not go together.

    Args:
        loader: a `DataLoader` with its arguments as attributes.

    Raises:
        ValueError: two exclude each other, or ``shard`` is no part.
        TypeError: a dataset or sampler of the wrong kind.

    Example:
        >>> data.DataLoader([1], shard=(2, 2))
        Traceback (most recent call last):
            ...
        ValueError: shard is (index, count) with 0 <= index < count; got (2, 2)
    """
    index, count = loader.shard
    if not 0 <= index < count:
        raise ValueError(f"shard is (index, count) with 0 <= index < count; got {loader.shard}")
    check_divisible("batch_size", loader.batch_size, "the number of shards", count)
    if loader.drop_last and loader.pad_last:
        raise ValueError("drop_last and pad_last exclude each other")
    for name in ("sampler", "batch_sampler"):
        if hasattr(getattr(loader, name), "__next__"):
            raise TypeError(
                f"{name} is an iterator, which is used up after one epoch; pass a list of it, or an"
                " object whose __iter__ begins anew"
            )
    if isinstance(loader.dataset, Mapping) and 0 not in loader.dataset:
        raise TypeError(
            f"the dataset is a {type(loader.dataset).__name__} without a sample 0; of arrays by name, write"
            " data.ArrayDataset(arrays)"
        )
    loads = hasattr(loader.dataset, "batch_sampler") and hasattr(loader.dataset, "dataset")
    if loads and not is_indexed(loader.dataset):
        raise TypeError(
            f"the dataset is a loader already, a {type(loader.dataset).__name__} of batches; pass its"
            " own dataset: DataLoader(loader.dataset, …)"
        )
    if loader.sampler is not None and loader.shuffle:
        raise ValueError("sampler and shuffle exclude each other: the sampler is the order")
    if loader.batch_sampler is not None and (
        loader.batch_size != 1
        or loader.shuffle
        or loader.sampler is not None
        or loader.drop_last
        or loader.pad_last
        or count > 1
    ):
        raise ValueError(
            "batch_sampler excludes batch_size, shuffle, sampler, drop_last, pad_last and shard:"
            " it makes whole batches"
        )


def check_transforms(name: str, transforms: Any) -> None:
    """Raise unless the transforms are several: one alone is written as a list of one.

    >>> data.DataLoader([1], transforms=abs)
    Traceback (most recent call last):
        ...
    TypeError: transforms is a list of functions: write transforms=[abs]
    """
    if callable(transforms):
        raise TypeError(
            f"{name} is a list of functions: write {name}=[{Transform(transforms).name}]"
        )
