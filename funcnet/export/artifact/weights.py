"""Weights as safetensors: written array by array, read as views of the mapped file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.safetensors_format import ArrayEntry, read_header
from funcnet.export.records import dtype_name

__all__ = ["WEIGHTS_ALIGNMENT", "StoredWeights", "map_weights"]

WEIGHTS_ALIGNMENT = 64
"""Bytes: where the first array begins, so that arrays of any dtype may be used where they lie."""


class StoredWeights:
    """Arrays on their way to a file: which bytes they take is known before any is fetched from a device.

    Args:
        arrays: by dotted name.
        metadata: text to keep beside them, such as other names of tied arrays.
    """

    def __init__(self, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        # the widest first: then each begins at a multiple of its own width
        order = sorted(arrays, key=lambda name: (-np.dtype(arrays[name].dtype).itemsize, name))
        self._arrays = [arrays[name] for name in order]
        self._header = _header({name: arrays[name] for name in order}, metadata)

    @property
    def size(self) -> int:
        """How many bytes they take in all."""
        return len(self._header) + sum(map(_bytes_of, self._arrays))

    def __iter__(self) -> Iterator[Any]:
        """Give the bytes, one array at a time, without keeping any."""
        yield self._header
        for array in self._arrays:
            yield np.ascontiguousarray(np.asarray(array)).reshape(-1).view(np.uint8).data


def _bytes_of(array: Any) -> int:
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def _header(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    made: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    begin = 0
    for name, array in arrays.items():
        end = begin + _bytes_of(array)
        dtype = dtype_name(array.dtype, name)
        made[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(made, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    text += b" " * (-(8 + len(text)) % WEIGHTS_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def map_weights(file: BinaryIO, content: memoryview, names: Sequence[str]) -> dict[str, np.ndarray]:
    """View the arrays of a safetensors file that lies in memory; nothing is copied.

    Args:
        file: at the beginning of the same bytes, for its header.
        content: the bytes.
        names: that must be there, and no others.

    Raises:
        ExportError: it is no such file, or its names are others.
    """
    try:
        entries, _ = read_header(file, "weights.safetensors", len(content))
    except ValueError as error:
        raise ExportError(str(error)) from None
    if {*names} != {*entries}:
        differing = sorted({*names} ^ {*entries})[:8]
        raise ExportError(
            f"the weights are not those that the manifest names: {', '.join(differing)} in one of them only"
        )
    views = {name: _view(content, entry) for name, entry in entries.items()}
    for name, view in views.items():
        if view.dtype == np.bool_ and view.size and view.view(np.uint8).max() > 1:
            raise ExportError(
                f"weights.safetensors: {name} holds bytes that are neither true nor false"
            )
    return views


def _view(content: memoryview, entry: ArrayEntry) -> np.ndarray:
    if entry.begin == entry.end:
        return np.zeros(entry.shape, entry.dtype)
    return np.frombuffer(content[entry.begin : entry.end], entry.dtype).reshape(entry.shape)
