"""Datasets made of datasets: parts, concatenations and stacks, with random access."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import numpy as np

from funcnet.core.checks import check_non_negative
from funcnet.core.trees import leaves_with_paths, rebuild
from funcnet.data.loading.buffers import Allocate, Layout, fresh
from funcnet.data.order.permutation import Permutation
from funcnet.data.order.randomness import Draw

__all__ = [
    "ConcatDataset",
    "Dataset",
    "Derived",
    "StackDataset",
    "Subset",
    "describe",
    "random_split",
    "read",
]

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


class Derived(ABC):
    """A dataset computed from others; `sample` is what its subclasses define.

    A loader calls `sample` with the draw of (seed, epoch, index); plain indexing uses that of seed
    and epoch 0.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, draw: Draw) -> Any:
        """Compute the sample at a non-negative index."""

    def __getitem__(self, index: int) -> Any:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is out of range for {self!r} of length {len(self)}")
        return self.sample(int(position), Draw(0, 0, int(position)))


def read(dataset: Any, index: int, draw: Draw) -> Any:
    """Read a sample of any dataset, with the draw where the dataset takes one.

    >>> from funcnet.data.datasets.base import Draw, read
    >>> read(["a", "b"], 1, Draw(0, 0, 1))
    'b'
    """
    return dataset.sample(index, draw) if isinstance(dataset, Derived) else dataset[index]


def describe(dataset: Any) -> str:
    """Name a dataset for a message: its repr, or for plain containers type and length.

    >>> from funcnet.data.datasets.base import describe
    >>> describe([0] * 1000)
    'list of length 1000'
    """
    if isinstance(dataset, (str, bytes, list, tuple, dict, range, np.ndarray)):
        return f"{type(dataset).__name__} of length {len(dataset)}"
    shown = " ".join(repr(dataset).split())
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


class Subset(Derived):
    """The samples of a dataset at some indices.

    Args:
        dataset: any dataset.
        indices: integers in ``[-len(dataset), len(dataset))``.

    Raises:
        IndexError: an index is out of range.

    Example:
        >>> list(data.Subset("abcdef", [4, 0]))
        ['e', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.intp)
        length = len(dataset)
        if self.indices.size and not -length <= self.indices.min() <= self.indices.max() < length:
            raise IndexError(
                f"Subset needs indices in [{-length}, {length}); got {self.indices.min()} to"
                f" {self.indices.max()}"
            )
        self.indices = np.where(self.indices < 0, self.indices + length, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int, draw: Draw) -> Any:
        """Read the sample that the index stands for."""
        return read(self.dataset, int(self.indices[index]), draw)

    @property
    def gather(self) -> Any:
        """``gather(indices, allocate)`` if the dataset has one, otherwise ``None``."""
        gather = getattr(self.dataset, "gather", None)
        if gather is None:
            return None

        def part(indices: np.ndarray, allocate: Allocate = fresh) -> Any:
            return gather(self.indices[indices], allocate)

        return part

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {describe(self.dataset)})"


class ConcatDataset(Derived):
    """Datasets one after the other.

    Args:
        datasets: any datasets, at least one.

    Raises:
        ValueError: there is none.

    Example:
        >>> "".join(data.ConcatDataset(["abc", "de"]))
        'abcde'
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        if not datasets:
            raise ValueError("ConcatDataset needs at least one dataset; got none")
        self.datasets = list(datasets)
        self.stops = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.stops[-1]

    def sample(self, index: int, draw: Draw) -> Any:
        """Read from the dataset that the index falls into."""
        which = bisect_right(self.stops, index)
        start = self.stops[which - 1] if which else 0
        return read(self.datasets[which], index - start, draw)

    @property
    def gather(self) -> Any:
        """``gather(indices, allocate)`` if the parts have one and are alike, otherwise ``None``."""
        if any(getattr(dataset, "gather", None) is None for dataset in self.datasets):
            return None
        return self._gather if self._dtypes is not None else None

    @cached_property
    def _empty(self) -> list[Any]:
        """A batch without samples of each dataset: names, dtypes and shapes."""
        return [dataset.gather(np.empty(0, np.intp)) for dataset in self.datasets]

    @cached_property
    def _dtypes(self) -> dict[str, np.dtype] | None:
        """By path, a dtype that holds what every dataset has there, if all have the same."""
        parts = [dict(leaves_with_paths(tree)) for tree in self._empty]
        shapes = [{path: leaf.shape for path, leaf in part.items()} for part in parts]
        text = [{path: leaf.dtype.kind in "SU" for path, leaf in part.items()} for part in parts]
        if any(each != shapes[0] for each in shapes) or any(each != text[0] for each in text):
            return None
        return {path: np.result_type(*(part[path] for part in parts)) for path in parts[0]}

    def _gather(self, indices: np.ndarray, allocate: Allocate = fresh) -> Any:
        which = np.searchsorted(self.stops, indices, side="right")
        starts = np.array([0, *self.stops])
        empty = dict(leaves_with_paths(self._empty[0]))
        dtypes = self._dtypes
        assert dtypes is not None  # otherwise `gather` is None
        layout = Layout([(dtypes[p], (len(indices), *x.shape[1:])) for p, x in empty.items()])
        views = dict(zip(empty, layout.views(*allocate(layout.nbytes)), strict=True))
        for part in np.unique(which):
            rows = np.flatnonzero(which == part)
            tree = self.datasets[part].gather(indices[rows] - starts[part])
            for path, values in leaves_with_paths(tree):
                views[path][rows] = values
        return rebuild(self._empty[0], iter(views.values()))

    def __repr__(self) -> str:
        return f"ConcatDataset({', '.join(map(describe, self.datasets))})"


class StackDataset(Derived):
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

    def sample(self, index: int, draw: Draw) -> Any:
        """Read the same index of each."""
        if isinstance(self.datasets, dict):
            return {name: read(part, index, draw) for name, part in self.datasets.items()}
        return tuple(read(part, index, draw) for part in self.datasets)

    def __repr__(self) -> str:
        return f"StackDataset({', '.join(map(describe, self._parts()))})"


def random_split(dataset: Any, lengths: Sequence[float], *, seed: int = 0) -> list[Subset]:
    """Split a dataset at random into parts that do not overlap.

    Args:
        dataset: any dataset.
        lengths: numbers of samples that add up to the whole, or fractions that add up to one: then
            each part has ``floor(fraction * len)`` samples, and what is left over goes to the first
            ones, one each.
        seed: the same seed makes the same parts.

    Returns:
        A `Subset` for each length.

    Raises:
        ValueError: the lengths do not add up.

    Example:
        >>> [len(part) for part in data.random_split(range(10), [0.75, 0.25])]
        [8, 2]
    """
    total = len(dataset)
    check_non_negative("lengths", list(lengths))
    if abs(sum(lengths) - 1) < 1e-6 and any(length != int(length) for length in lengths):
        counts = [int(total * fraction) for fraction in lengths]
        for part in range(total - sum(counts)):
            counts[part % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != total:
        raise ValueError(
            f"random_split needs lengths that add up to {total}, or fractions that add up to 1;"
            f" got {list(lengths)}"
        )
    order = Permutation(total, seed)[:]
    bounds = list(accumulate(counts))
    return [
        Subset(dataset, order[stop - count : stop])
        for count, stop in zip(counts, bounds, strict=True)
    ]
