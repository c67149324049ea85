"""Indices: whole numbers in range. A mask or a fraction is refused, never rounded to an index."""

import operator
from typing import Any

import numpy as np

__all__ = ["checked_index", "as_indices", "number_vector"]


def checked_index(index: Any, length: int, dataset: Any) -> int:
    """Check the index of one sample, and count negative ones from the end.

    Args:
        index: an integer of any kind.
        length: of the dataset.
        dataset: what is indexed, for the message.

    Raises:
        TypeError: it is a boolean, a fraction or no number.
        IndexError: it is out of range.

    Example:
        >>> from funcnet.data.order.indices import checked_index
        >>> checked_index(np.int64(-1), 5, "a dataset")
        4
    """
    if type(index) is not int:
        if isinstance(index, (bool, np.bool_)):
            raise TypeError(f"an index is an integer; got the boolean {index} for {dataset!r}")
        try:
            index = operator.index(index)
        except TypeError:
            shown = f"{type(index).__name__} {index!r}"
            raise TypeError(f"an index is an integer; got the {shown} for {dataset!r}") from None
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range for {dataset!r} of length {length}")
    return index + length if index < 0 else index


def as_indices(name: str, indices: Any) -> np.ndarray:
    """Make an array of indices, ``intp`` and one-dimensional.

    Args:
        name: who gives the indices, for the message.
        indices: integers in anything that NumPy takes.

    Raises:
        TypeError: they are booleans, fractions or no numbers.
        ValueError: they are not one-dimensional.

    Example:
        >>> from funcnet.data.order.indices import as_indices
        >>> as_indices("Subset", [4, 0])
        array([4, 0])
    """
    array = np.asarray(indices)
    if array.ndim != 1:
        raise ValueError(
            f"{name} needs one-dimensional indices; got an array of shape {array.shape}"
        )
    if array.dtype.kind not in "iu":
        if array.size == 0:  # an empty list is an array of floats
            return np.zeros(0, np.intp)
        hint = " Of a mask, take np.flatnonzero(mask)." if array.dtype.kind == "b" else ""
        raise TypeError(f"{name} needs integers as indices; got {array.dtype}.{hint}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.intp).max:
        raise IndexError(f"{name} got the index {array.max()}, beyond any dataset")
    return array.astype(np.intp, copy=False)


def number_vector(name: str, values: Any) -> np.ndarray:
    """Make a one-dimensional array of one finite number for each sample.

    Raises:
        ValueError: it has another shape, or a number is NaN or infinite; the message says where.

    Example:
        >>> from funcnet.data.order.indices import number_vector
        >>> number_vector("lengths", [3, 5])
        array([3, 5])
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iufb":
        raise ValueError(
            f"{name} must be one number for each sample; got {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite; got {array[where]} at {where}")
    return array
