"""Samples to a batch: every sample is written once, straight into the batch's memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnet.core.trees import fill_tree, named_leaves
from funcnet.data.loading.batch_memory import Allocate, BatchLayout, fresh
from funcnet.data.loading.containers import (
    is_plain,
    numpy_leaf,
    plain_tree,
    refuse_mask,
    restored_tree,
)

__all__ = ["collate"]


def collate(samples: Sequence[Any], allocate: Allocate = fresh) -> Any:
    """Stack samples of one structure into a batch of the same structure.

    Arrays keep their dtype; where samples differ in it, the batch has one that holds them all.
    Python numbers become ``int32``, ``float32``, ``complex64`` or ``bool``, which is what JAX makes
    of them (``int64`` where one needs it). Anything else, such as text, becomes a list.

    Args:
        samples: trees of dicts, lists and tuples with the same containers, names and shapes. Other
            mappings, such as tokenizers return, become dicts; dataclasses become one of the same
            class, made without its ``__init__``.
        allocate: where the batch's memory comes from.

    Returns:
        The tree with arrays ``(len(samples), ...)``.

    Raises:
        ValueError: there is no sample, or two differ in structure, kind or shape; the message names
            the leaf and what it is in both.

    Example:
        >>> batch = data.collate([{"x": np.ones(2), "name": "a"}, {"x": np.zeros(2), "name": "b"}])
        >>> batch["x"].shape, batch["name"]
        ((2, 2), ['a', 'b'])
    """
    if not samples:
        raise ValueError("collate needs at least one sample; got none")
    first = samples[0]
    if not is_plain(first):
        return restored_tree(first, collate([plain_tree(sample) for sample in samples], allocate))
    columns = [_arrays(column) for column in _columns(samples)]
    specs = [_spec(column, samples, leaf) for leaf, column in enumerate(columns)]
    layout = BatchLayout([spec for spec in specs if spec is not None])
    views = iter(layout.views(*allocate(layout.nbytes)))
    batch = [
        list(column) if spec is None else _fill(next(views), column, samples, leaf)
        for leaf, (column, spec) in enumerate(zip(columns, specs, strict=True))
    ]
    return fill_tree(samples[0], iter(batch))


_ARRAYS = (np.ndarray, np.generic)
_DENSE = (*_ARRAYS, bool, int, float, complex)


def _columns(samples: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Turn trees of leaves into one tuple of values for every leaf."""
    first = samples[0]
    if not isinstance(first, (dict, list, tuple)):
        return [tuple(samples)]
    rows: list[list[Any]] = []
    for position, sample in enumerate(samples):
        rows.append([])
        if not _collect(sample, first, rows[-1]):
            raise ValueError(
                f"samples of a batch must have one structure; sample 0 has the leaves"
                f" {[path for path, _ in named_leaves(first)]}, sample {position} has"
                f" {[path for path, _ in named_leaves(sample)]}"
            )
    return list(zip(*rows, strict=True))


def _collect(sample: Any, like: Any, found: list[Any]) -> bool:
    """Append the leaves in the order of another sample's; say if the containers are the same."""
    if isinstance(like, dict):
        if not isinstance(sample, dict) or sample.keys() != like.keys():
            return False
        return all(_collect(sample[name], child, found) for name, child in like.items())
    if isinstance(like, (list, tuple)):
        if not isinstance(sample, (list, tuple)) or len(sample) != len(like):
            return False
        return all(_collect(part, child, found) for part, child in zip(sample, like, strict=True))
    found.append(sample)
    return True


def _arrays(column: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert the arrays of other libraries, those of JAX among them."""
    if isinstance(column[0], _DENSE) or not hasattr(column[0], "__array__"):
        return column
    return tuple(numpy_leaf(value, "the array") for value in column)


def _spec(
    column: tuple[Any, ...], samples: Sequence[Any], leaf: int
) -> tuple[np.dtype, tuple[int, ...]] | None:
    """Give the dtype and shape of a leaf of the batch; ``None`` for what becomes a list."""
    types = set(map(type, column))
    if any(issubclass(kind, np.ma.MaskedArray) for kind in types):
        for value in column:
            refuse_mask(value, _name(samples, leaf))
    dense = [kind for kind in types if issubclass(kind, _DENSE)]
    if not dense:
        return None
    if len(dense) < len(types):
        raise _unlike(column, samples, leaf, lambda value: isinstance(value, _DENSE))
    numbers = {kind for kind in types if not issubclass(kind, _ARRAYS)}
    try:
        dtype = _dtype(column, numbers)
    except TypeError as error:  # text and numbers, numbers and dates
        raise _unlike(column, samples, leaf, lambda value: np.asarray(value).dtype.kind) from error
    return None if dtype.hasobject else (dtype, (len(column), *np.shape(column[0])))


def _unlike(
    column: tuple[Any, ...], samples: Sequence[Any], leaf: int, kind: Callable[[Any], Any]
) -> ValueError:
    row = next(k for k, value in enumerate(column) if kind(value) != kind(column[0]))
    return ValueError(
        f"samples of a batch must be alike; {_name(samples, leaf)} is of type"
        f" {type(column[0]).__name__} in sample 0 and {type(column[row]).__name__} in sample {row}."
        " Replace it in a transform, or pass collate=."
    )


def _dtype(column: tuple[Any, ...], numbers: set[type]) -> np.dtype:
    """Choose a dtype that holds every value; Python numbers take those of JAX."""
    typed = [value for value in column if isinstance(value, _ARRAYS)] if numbers else column
    dtypes = {value.dtype for value in typed}
    if len(dtypes) == 1 and not numbers:
        return dtypes.pop()
    if dtypes:
        if len({dtype.kind in "SU" for dtype in dtypes}) > 1:
            raise TypeError("NumPy would turn numbers into text")
        return np.result_type(*dtypes, *(kind(0) for kind in numbers))
    if numbers == {bool}:
        return np.dtype(bool)
    if all(issubclass(kind, int) for kind in numbers):
        small = all(-(2**31) <= value < 2**31 for value in column)
        return np.dtype(np.int32 if small else np.int64)
    has_complex = any(issubclass(kind, complex) for kind in numbers)
    return np.dtype(np.complex64 if has_complex else np.float32)


def _fill(
    out: np.ndarray, column: tuple[Any, ...], samples: Sequence[Any], leaf: int
) -> np.ndarray:
    shape = out.shape[1:]
    for row, value in enumerate(column):
        if (value.shape if isinstance(value, _ARRAYS) else ()) != shape:
            raise ValueError(
                f"samples of a batch must have one shape; {_name(samples, leaf)} is {shape} in"
                f" sample 0 and {np.shape(value)} in sample {row}. Fill them up with"
                " collate=data.pad(), batching similar lengths with data.BucketSampler; or crop or"
                " resize them in a transform."
            )
        out[row] = value
    return out


def _name(samples: Sequence[Any], leaf: int) -> str:
    return [path for path, _ in named_leaves(samples[0])][leaf] or "the array"
