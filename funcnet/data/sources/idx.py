"""IDX files: the format of MNIST and its relatives."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

__all__ = ["read_idx"]

_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """Read an array from an IDX file, raw or gzipped.

    The format: two zero bytes, a byte for the type, a byte for the number of axes, the length of
    each axis as a big-endian 32-bit integer, then the values in C order, big-endian.

    Args:
        path: the file; gzip is recognised by its first bytes, not by its name.

    Returns:
        The array, in native byte order.

    Raises:
        ValueError: the file is truncated, too long or not an IDX file.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "labels.idx1-ubyte")
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> data.read_idx(path)
        array([7, 2, 1], dtype=uint8)

    Reference:
        The format's description on the MNIST page of Y. LeCun.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise ValueError(
            f"{path} is not an IDX file: expected two zero bytes, a type"
            f" ({', '.join(map(str, _DTYPES))}) and a number of axes; got the bytes"
            f" {list(content[:4])}"
        )
    dtype, axes = np.dtype(_DTYPES[content[2]]), content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(
            f"{path} is truncated: its header has {header} bytes, the file {len(content)}"
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    expected = header + prod(shape) * dtype.itemsize
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "too long"
        raise ValueError(
            f"{path} is {fault}: an array {shape} of {dtype.newbyteorder('=')} needs {expected}"
            f" bytes; the file has {len(content)}"
        )
    values = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
