"""Descriptions of what lies in PyTorch's files: dtypes, storages, and tensors that view them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from funcnet.checkpoint.files.pickle_machine import Foreign

__all__ = [
    "ELEMENTS",
    "STORAGE_ELEMENTS",
    "ElementType",
    "Extent",
    "Storage",
    "TensorRecord",
    "Unpacked",
]


@dataclass(frozen=True)
class ElementType:
    """A dtype of PyTorch.

    Attributes:
        name: as PyTorch calls it.
        itemsize: bytes of an element.
        dtype: the same in NumPy; None where it has none.
    """

    name: str
    itemsize: int
    dtype: np.dtype[Any] | None


@dataclass(frozen=True, eq=False)
class Storage:
    """Elements that lie one after the other in a file, and that tensors are views of.

    Attributes:
        key: its name in the file.
        element: what it was made for; tensors may see it otherwise.
        numel: how many elements it has.
    """

    key: str
    element: ElementType
    numel: int

    @property
    def nbytes(self) -> int:
        """How many bytes all its elements take."""
        return self.numel * self.element.itemsize


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage.

    Attributes:
        storage: where its elements lie.
        element: its dtype.
        offset: its first element.
        shape: its sizes.
        strides: elements from one to the next along each axis.
        conj: its values are the conjugates of what is stored.
        neg: its values are the negatives of what is stored.
    """

    storage: Storage
    element: ElementType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conj: bool = False
    neg: bool = False


@dataclass(frozen=True)
class Extent:
    """Where a storage's bytes lie in a file, with their CRC-32 if the file tells it."""

    begin: int
    nbytes: int
    checksum: int | None = None


@dataclass(frozen=True)
class Unpacked:
    """A file of PyTorch whose pickle is read, and whose tensors are not.

    Attributes:
        tree: the value, with a record or a storage for each array.
        extents: where the storages lie.
        steps: how many instructions made the tree.
        foreign: what the pickle asks for that is neither array nor plain value.
        swapped: the bytes of each number are in the big-endian order.
    """

    tree: Any
    extents: Mapping[str, Extent]
    steps: int
    foreign: list[Foreign] = field(default_factory=list)
    swapped: bool = False


_NUMPY = [np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128")]
_NUMPY += [np.dtype(f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_NUMPY += [np.dtype(np.bool_), np.dtype(ml_dtypes.bfloat16)]
_NUMPY += [
    np.dtype(getattr(ml_dtypes, f"float8_{kind}"))
    for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")
]

_ITEMSIZES = {"complex32": 4, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_ITEMSIZES |= {"float4_e2m1fn_x2": 1}
"""Dtypes that NumPy lacks: known, so that what lies beside them can be read."""

ELEMENTS: dict[str, ElementType] = {
    str(dtype): ElementType(str(dtype), dtype.itemsize, dtype) for dtype in _NUMPY
}
ELEMENTS |= {name: ElementType(name, size, None) for name, size in _ITEMSIZES.items()}
"""The dtypes, by PyTorch's names."""

STORAGE_ELEMENTS = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QInt32": "qint32",
    "QUInt8": "quint8",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
"""Classes of storages, older than the dtypes, to what they hold."""
