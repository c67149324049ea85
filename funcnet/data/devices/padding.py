"""Padding: copies of real rows that fill a batch, and the mask that says which rows are real."""

from typing import Any

import numpy as np

__all__ = ["Padding", "filled", "mark_rows", "marked_rows"]


def mark_rows(batch: Any, valid: Any, marked: bool = False) -> Any:
    """Say in a batch which of its rows are real.

    Args:
        batch: a dict gets an entry ``"valid"``, a tuple one more item, anything else becomes a pair.
        valid: a boolean array, one value a row.
        marked: whether the batch has a mask already, which this one replaces.

    Raises:
        ValueError: a dict has an entry ``"valid"`` that is no mask of its rows.

    Example:
        >>> from funcnet.data.devices.padding import mark_rows
        >>> mark_rows((1, 2), 3), mark_rows((1, 2, 0), 3, marked=True), mark_rows({"x": 1}, 3)
        ((1, 2, 3), (1, 2, 3), {'x': 1, 'valid': 3})
    """
    if isinstance(batch, dict):
        if "valid" in batch and not marked:
            raise ValueError(
                'batches have an entry "valid" of their own, where it has to be said which rows are real and which'
                " fill the batch: give yours another name, or leave out incomplete batches with drop_last=True"
            )
        return {**batch, "valid": valid}
    if type(batch) is not tuple:
        return batch, valid
    return (*batch[:-1], valid) if marked else (*batch, valid)


def marked_rows(batch: Any) -> Any:
    """Return the mask of a batch in the form that `mark_rows` gives it; None if it has none.

    Example:
        >>> from funcnet.data.devices.padding import marked_rows
        >>> marked_rows((np.ones(2), np.array([True, False]))).tolist(), marked_rows({"x": 1})
        ([True, False], None)
    """
    mask = None
    if isinstance(batch, dict):
        mask = batch.get("valid")
    elif type(batch) is tuple and len(batch) > 1:
        mask = batch[-1]
    is_mask = getattr(mask, "ndim", 0) == 1 and getattr(mask, "dtype", None) == np.dtype(bool)
    return mask if is_mask else None


class Padding:
    """Fills batches so that the devices divide their rows, all to one size.

    The size is that of the first batch, so that nothing is compiled again for a smaller last one, and processes
    whose last batches differ agree without asking each other. On one process a larger batch keeps its size.

    Args:
        multiple: what has to divide the rows of this process.
        alone: whether this is the only process.
    """

    def __init__(self, multiple: int, alone: bool) -> None:
        self.multiple = multiple
        self.alone = alone
        self.size: int | None = None

    def valid(self, rows: int, mask: Any = None) -> np.ndarray:
        """Return which rows of the filled batch are real.

        Args:
            rows: of the batch as it came.
            mask: which of those are real; all of them if left out.

        Raises:
            ValueError: there is nothing to copy, or the batch is larger than other processes can know.
        """
        if rows == 0:
            raise ValueError(
                "a batch without rows cannot be padded: there is nothing to copy. Leave it out on all processes"
            )
        size = -(-rows // self.multiple) * self.multiple
        self.size = self.size or size
        if size > self.size and not self.alone:
            raise ValueError(
                f"a batch has {rows} rows, more than the first one ({self.size} with its padding). The other processes "
                "do not know its size and could not follow: let the first batch be the largest"
            )
        valid = np.zeros(max(size, self.size), bool)
        valid[:rows] = True if mask is None else np.asarray(mask)
        return valid


def filled(array: np.ndarray, size: int) -> np.ndarray:
    """Fill an array with copies of its rows, from the first on.

    Example:
        >>> from funcnet.data.devices.padding import filled
        >>> filled(np.array([1, 2]), 5).tolist()
        [1, 2, 1, 2, 1]
    """
    if len(array) == size:
        return array
    return np.take(array, np.arange(size) % len(array), axis=0)
