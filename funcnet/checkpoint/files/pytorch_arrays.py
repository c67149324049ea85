"""Tensors of PyTorch's files as arrays that are read when they are asked for."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcnet.checkpoint.files.pytorch_records import Extent, TensorRecord, Unpacked
from funcnet.checkpoint.files.stored_array import StoredArray

__all__ = ["PytorchArray", "memory_limit", "packed_strides", "stored_tensor"]

LEAST_LIMIT = 64 * 2**20


def memory_limit(file_size: int) -> int:
    """Tell how many bytes may be made of a file of a size: twice as many, or 64 MiB for a small one.

    A file of a few bytes may describe an array of any size, by giving it one element and strides of 0.
    """
    return max(2 * file_size, LEAST_LIMIT)


@dataclass(frozen=True)
class PytorchArray(StoredArray):
    """A tensor in a file: a view of a storage, whose values may have to be computed from what is stored.

    Attributes:
        limit: how many bytes it may take in memory.
        swapped: its numbers are stored in the big-endian order.
        conj: its values are the conjugates of what is stored.
        neg: its values are the negatives of what is stored.
    """

    limit: int = LEAST_LIMIT
    swapped: bool = False
    conj: bool = False
    neg: bool = False

    def view(self) -> np.ndarray:
        """Show the array as it lies in the file; what does not lie there as it is is computed. It cannot be written."""
        array = super().view()
        array = array.byteswap() if self.swapped else array
        array = np.conjugate(array) if self.conj else array
        array = np.negative(array) if self.neg else array
        array.setflags(write=False)
        return array

    def read(self) -> np.ndarray:
        """Copy the array into memory of its own.

        Raises:
            ValueError: it would be far larger than the file, or its bytes are not those that were written.
        """
        if self.nbytes > self.limit:
            raise ValueError(
                f"{self.name} shows the same elements again and again, {self.nbytes:,} bytes in all, where at most "
                f"{self.limit:,} are made of a file of this size; use .view(), which takes no memory"
            )
        return super().read()


def stored_tensor(
    record: TensorRecord, content: np.ndarray, unpacked: Unpacked, name: str
) -> PytorchArray:
    """Find a tensor's bytes in a file.

    Args:
        record: of the tensor.
        content: the bytes of the file.
        unpacked: what else is known of the file.
        name: of the tensor, for messages.

    Raises:
        ValueError: NumPy has no such dtype, or the tensor goes beyond what the file holds for it.
    """
    dtype, size = record.element.dtype, record.element.itemsize
    if dtype is None:
        raise ValueError(
            f"it has dtype torch.{record.element.name}, which NumPy lacks; save it in PyTorch as another dtype, "
            "or leave it out with select="
        )
    _check_marks(record, dtype)
    extent = _checked_extent(record, unpacked)
    packed = packed_strides(record.shape)
    strides = tuple(
        step if length > 1 else usual
        for step, length, usual in zip(record.strides, record.shape, packed, strict=True)
    )
    begin = extent.begin + record.offset * size
    whole = strides == packed and math.prod(record.shape) * size == extent.nbytes
    plain = not (unpacked.swapped or record.conj or record.neg)
    return PytorchArray(
        name,
        content,
        dtype,
        record.shape,
        begin,
        None if strides == packed else tuple(size * step for step in strides),
        extent.checksum if whole and plain else None,  # the file tells that of whole storages
        memory_limit(len(content)),
        unpacked.swapped and size > 1,
        record.conj,
        record.neg,
    )


def _check_marks(record: TensorRecord, dtype: np.dtype[Any]) -> None:
    if (record.conj and dtype.kind != "c") or (record.neg and dtype.kind not in "fc"):
        raise ValueError(f"it is marked as conjugated or negated, and holds {dtype}")


def _checked_extent(record: TensorRecord, unpacked: Unpacked) -> Extent:
    """Find where a tensor's storage lies, and refuse a tensor that is not within it."""
    storage, size = record.storage, record.element.itemsize
    extent = unpacked.extents.get(storage.key)
    if extent is None:
        raise ValueError(f"the file lacks its storage {storage.key[:50]!r}")
    if not storage.nbytes <= extent.nbytes < storage.nbytes + storage.element.itemsize:
        raise ValueError(
            f"its storage has {extent.nbytes} bytes, where {storage.numel} elements of {storage.element.name} "
            f"take {storage.nbytes}"
        )
    if math.prod(max(n, 1) for n in record.shape) * size >= 2**63:
        raise ValueError("it has more elements than any memory holds")
    if 0 not in record.shape:
        last = record.offset + sum(
            (n - 1) * step for n, step in zip(record.shape, record.strides, strict=True)
        )
        if (last + 1) * size > extent.nbytes:
            raise ValueError(
                f"it goes to element {last} of a storage that has {extent.nbytes // size} of its dtype"
            )
    return extent


def packed_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Tell the strides, in elements, of an array whose rows lie one after the other."""
    return tuple(math.prod(max(n, 1) for n in shape[axis + 1 :]) for axis in range(len(shape)))
