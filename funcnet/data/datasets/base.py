"""What a dataset is, and the base of the datasets that are made of other datasets."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import numpy as np

from funcnet.data.order.indices import checked_index
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Dataset", "DerivedDataset", "dataset_name", "read_sample"]

_SHOWN = 300  # characters of a dataset's repr in messages


@runtime_checkable
class Dataset(Protocol):
    """Anything with a length and items: a list of samples is one.

    Two methods are optional. ``__getitems__(indices)`` returns a list of samples when reading many
    at once is quicker; ``gather(indices, allocate)`` returns a whole batch when that is quicker
    still.

    Example:
        >>> isinstance([1, 2, 3], data.Dataset)
        True
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class DerivedDataset(ABC):
    """A dataset made of other datasets; `sample` is what its subclasses define.

    A loader calls `sample` with the generator of (seed, epoch, index); plain indexing with that of
    seed and epoch 0.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        """Return the sample at a non-negative index.

        Args:
            index: in ``[0, len)``.
            sample_rng: the generator of its random transforms, to be passed on to `read_sample`.
        """

    def __getitem__(self, index: int) -> Any:
        position = checked_index(index, len(self), self)
        return self.sample(position, SampleRng(0, 0, position))


def read_sample(dataset: Any, index: int, sample_rng: SampleRng) -> Any:
    """Read a sample of any dataset, with its generator where the dataset takes one.

    >>> from funcnet.data.datasets.base import SampleRng, read_sample
    >>> read_sample(["a", "b"], 1, SampleRng(0, 0, 1))
    'b'
    """
    return (
        dataset.sample(index, sample_rng) if isinstance(dataset, DerivedDataset) else dataset[index]
    )


def dataset_name(dataset: Any) -> str:
    """Name a dataset for a message: its repr, or for plain containers type and length.

    >>> from funcnet.data.datasets.base import dataset_name
    >>> dataset_name([0] * 1000)
    'list of length 1000'
    """
    if isinstance(dataset, (str, bytes, list, tuple, dict, range, np.ndarray)):
        return f"{type(dataset).__name__} of length {len(dataset)}"
    shown = " ".join(repr(dataset).split())
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
