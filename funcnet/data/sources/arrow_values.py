"""Columns of Arrow tables as NumPy arrays with the columns' own dtypes."""

from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["column_values", "is_array_type"]


def is_array_type(kind: Any) -> bool:
    """Say whether every column of a type becomes an array, if no value is missing.

    >>> import pyarrow as pa
    >>> from funcnet.data.sources.arrow_values import is_array_type
    >>> is_array_type(pa.list_(pa.int8(), 3)), is_array_type(pa.list_(pa.int8()))
    (True, False)
    """
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType):
        return True
    if pa.types.is_fixed_size_list(kind):
        return is_array_type(kind.value_type)
    return _is_number(kind, pa.types)


def _is_number(kind: Any, types: Any) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def column_values(column: Any) -> np.ndarray | list[Any]:
    """Turn a column into an array whose first axis is the rows, or else into a list of its values.

    Numbers keep their dtype; tensors, lists of one length and lists of those become more axes. A
    list of lists of numbers of several lengths is a list of arrays, a column of structures a list of
    dicts. Values that are missing are ``None`` in a list.

    Args:
        column: an array or chunked array of pyarrow.

    Example:
        >>> import pyarrow as pa
        >>> from funcnet.data.sources.arrow_values import column_values
        >>> column_values(pa.array([[1, 2], [3, 4]], pa.list_(pa.int16())))
        array([[1, 2],
               [3, 4]], dtype=int16)
    """
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunks, or of more than fit in one
        parts = [column_values(chunk) for chunk in array.chunks]
        return [value for part in parts for value in part]
    return _values(array, pa)


def _values(array: Any, pa: Any) -> np.ndarray | list[Any]:
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType) and not array.null_count:
        return array.to_numpy_ndarray()
    if isinstance(kind, pa.BaseExtensionType):
        return _values(array.storage, pa)
    types = pa.types
    if array.null_count:
        return _with_gaps(array, pa)
    if _is_number(kind, types):
        return array.to_numpy(zero_copy_only=False)
    if types.is_fixed_size_list(kind):
        inner = _values(array.flatten(), pa)
        if isinstance(inner, np.ndarray):
            return inner.reshape(len(array), kind.list_size, *inner.shape[1:])
        return _cut(inner, np.arange(len(array) + 1) * kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        starts = np.asarray(array.offsets)
        return _cut(_values(array.flatten(), pa), starts - starts[0])
    if types.is_struct(kind):
        fields = [_values(field, pa) for field in array.flatten()]
        names = [kind.field(k).name for k in range(kind.num_fields)]
        rows = zip(*fields, strict=True) if fields else ((),) * len(array)
        return [dict(zip(names, row, strict=True)) for row in rows]
    return array.to_pylist()


def _with_gaps(array: Any, pa: Any) -> list[Any]:
    present = np.asarray(array.is_valid())
    values = iter(_values(array.drop_null(), pa))
    return [next(values) if here else None for here in present.tolist()]


def _cut(inner: np.ndarray | list[Any], starts: np.ndarray) -> np.ndarray | list[Any]:
    """Cut the values of all rows at where each row begins."""
    lengths = np.diff(starts)
    if isinstance(inner, np.ndarray) and len(lengths) and (lengths == lengths[0]).all():
        return inner.reshape(len(lengths), int(lengths[0]), *inner.shape[1:])
    bounds = starts.tolist()
    return [inner[low:high] for low, high in pairwise(bounds)]
