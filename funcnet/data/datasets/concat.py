"""`ConcatDataset`: datasets one after the other."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from funcnet.core.trees import fill_tree, named_leaves
from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.loading.batch_memory import Allocate, BatchLayout, fresh
from funcnet.data.order.indices import as_indices
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["ConcatDataset"]


class ConcatDataset(DerivedDataset):
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

    def sample(self, index: int, sample_rng: SampleRng) -> Any:
        """Read from the dataset that the index falls into."""
        which = bisect_right(self.stops, index)
        start = self.stops[which - 1] if which else 0
        return read_sample(self.datasets[which], index - start, sample_rng)

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
        parts = [dict(named_leaves(tree)) for tree in self._empty]
        shapes = [{path: leaf.shape for path, leaf in part.items()} for part in parts]
        text = [{path: leaf.dtype.kind in "SU" for path, leaf in part.items()} for part in parts]
        if any(each != shapes[0] for each in shapes) or any(each != text[0] for each in text):
            return None
        return {path: np.result_type(*(part[path] for part in parts)) for path in parts[0]}

    def _gather(self, indices: np.ndarray, allocate: Allocate = fresh) -> Any:
        indices = as_indices("gather", indices)
        which = np.searchsorted(self.stops, indices, side="right")
        starts = np.array([0, *self.stops])
        empty = dict(named_leaves(self._empty[0]))
        dtypes = self._dtypes
        assert dtypes is not None  # otherwise `gather` is None
        layout = BatchLayout([(dtypes[p], (len(indices), *x.shape[1:])) for p, x in empty.items()])
        views = dict(zip(empty, layout.views(*allocate(layout.nbytes)), strict=True))
        for part in np.unique(which):
            rows = np.flatnonzero(which == part)
            tree = self.datasets[part].gather(indices[rows] - starts[part])
            for path, values in named_leaves(tree):
                views[path][rows] = values
        return fill_tree(self._empty[0], iter(views.values()))

    def __repr__(self) -> str:
        return f"ConcatDataset({', '.join(map(dataset_name, self.datasets))})"
