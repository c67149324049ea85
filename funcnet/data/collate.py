"""Samples to a batch: every sample is written once, straight into the batch's memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.data.buffers import Allocate, Layout, fresh
from funcnet.data.trees import leaves, leaves_with_paths, rebuild

__all__ = ["collate"]


def collate(samples: Sequence[Any], allocate: Allocate = fresh) -> Any:
    """Stack samples of one structure into a batch of the same structure.

    Arrays keep their dtype. Python numbers become ``int32``, ``float32`` or ``bool``, which is what
    JAX makes of them (``int64`` where one needs it). Anything else, such as text, becomes a list.

    Args:
        samples: trees of dicts, lists and tuples with the same containers and shapes.
        allocate: where the batch's memory comes from.

    Returns:
        The tree with arrays ``(len(samples), ...)``.

    Raises:
        ValueError: there is no sample, or two differ in structure or shape; the message names the
            leaf and both shapes.

    Example:
        >>> batch = data.collate([{"x": np.ones(2), "name": "a"}, {"x": np.zeros(2), "name": "b"}])
        >>> batch["x"].shape, batch["name"]
        ((2, 2), ['a', 'b'])
    """
    if not samples:
        raise ValueError("collate needs at least one sample; got none")
    columns = _columns(samples)
    first = [column[0] for column in columns]
    dense = [isinstance(leaf, (np.ndarray, np.generic, bool, int, float)) for leaf in first]
    specs = [
        _spec(column, len(samples))
        for column, is_dense in zip(columns, dense, strict=True)
        if is_dense
    ]
    layout = Layout(specs)
    views = iter(layout.views(*allocate(layout.nbytes)))
    batch = [
        _fill(next(views), column, samples[0], position) if is_dense else list(column)
        for position, (column, is_dense) in enumerate(zip(columns, dense, strict=True))
    ]
    return rebuild(samples[0], iter(batch))


def _columns(samples: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Turn trees of leaves into one tuple of values for every leaf."""
    if isinstance(samples[0], (np.ndarray, np.generic)):
        return [tuple(samples)]
    rows = [leaves(sample) for sample in samples]
    for position, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"samples of a batch must have one structure; sample 0 has the leaves"
                f" {[path for path, _ in leaves_with_paths(samples[0])]}, sample {position} has"
                f" {[path for path, _ in leaves_with_paths(samples[position])]}"
            )
    return list(zip(*rows, strict=True))


def _spec(column: tuple[Any, ...], count: int) -> tuple[np.dtype, tuple[int, ...]]:
    leaf = column[0]
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype, (count, *leaf.shape)
    if isinstance(leaf, bool):
        return np.dtype(bool), (count,)
    if any(isinstance(value, float) for value in column):
        return np.dtype(np.float32), (count,)
    small = all(-(2**31) <= value < 2**31 for value in column)
    return np.dtype(np.int32 if small else np.int64), (count,)


def _fill(out: np.ndarray, column: tuple[Any, ...], sample: Any, leaf: int) -> np.ndarray:
    shape = out.shape[1:]
    for row, value in enumerate(column):
        if np.shape(value) != shape:
            path = [path for path, _ in leaves_with_paths(sample)][leaf]
            raise ValueError(
                f"samples of a batch must have one shape; {path or 'the array'} is {shape} in"
                f" sample 0 and {np.shape(value)} in sample {row}. Pad or crop them in a transform,"
                f" batch similar lengths with data.BucketSampler, or pass collate=."
            )
        out[row] = value
    return out
