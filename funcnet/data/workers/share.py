"""`share`: move the arrays of a dataset into memory that all worker processes see."""

from typing import Any

import numpy as np

from funcnet.core.trees import map_tree
from funcnet.data.loading.containers import plain_tree
from funcnet.data.workers.shared_memory import SharedFile, mapped_file, shared_base

__all__ = ["share"]


def share(dataset: Any) -> Any:
    """Move the arrays of a dataset into shared memory, once, for all worker processes.

    Without it, a loader with worker processes copies large arrays into shared memory itself, and
    the program holds them twice. Memory-mapped arrays are shared as they are.

    Args:
        dataset: an `ArrayDataset`, or a tree of arrays.

    Returns:
        The same with its arrays in shared memory; memory maps are left alone.

    Example:
        >>> dataset = data.share(data.ArrayDataset(np.arange(5)))
        >>> dataset[3]
        np.int64(3)
    """
    if hasattr(dataset, "arrays"):
        return type(dataset)(map_tree(_shared, dataset.arrays))
    return map_tree(_shared, plain_tree(dataset))


def _shared(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if mapped_file(array) or shared_base(array) or array.dtype.hasobject:
        return array
    moved = np.ndarray(array.shape, array.dtype, SharedFile.create(array.nbytes))
    moved[...] = array
    return moved
