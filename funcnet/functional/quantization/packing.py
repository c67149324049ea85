"""Two numbers of four bits in one byte."""

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.marks import marked

__all__ = ["pack_int4", "unpack_int4"]


def pack_int4(codes: Array) -> Array:
    """Put each two neighbours along the last axis into one byte, the first in its lower half.

    Of a last axis of odd length the last byte's upper half is 0. It is the layout of ONNX's UINT4.

    Args:
        codes: whole numbers from 0 to 15, ``(*, n)``.

    Returns:
        uint8, ``(*, ceil(n / 2))``.

    Raises:
        TypeError: other than uint8.
        ValueError: no axis to pack along.

    Example:
        >>> F.pack_int4(jnp.array([1, 2, 15], jnp.uint8)).tolist()
        [33, 15]
    """
    _check_bytes("pack_int4", codes)
    if codes.shape[-1] % 2:
        codes = jnp.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, 1)])
    return codes[..., ::2] & 15 | (codes[..., 1::2] & 15) << 4


def unpack_int4(packed: Array, length: int | None = None) -> Array:
    """Return the numbers of four bits that `pack_int4` put into bytes.

    ``export.onnx`` stores a weight that is unpacked so as UINT4 (from opset 21).

    Args:
        packed: uint8, ``(*, m)``.
        length: of the last axis, ``2 * m - 1`` or ``2 * m``; by default the latter.

    Returns:
        uint8 from 0 to 15, ``(*, length)``.

    Raises:
        TypeError: other than uint8.
        ValueError: another length.

    Example:
        >>> F.unpack_int4(jnp.array([33, 15], jnp.uint8), 3).tolist()
        [1, 2, 15]
    """
    _check_bytes("unpack_int4", packed)
    full = 2 * packed.shape[-1]
    length = full if length is None else length
    if length not in (full, full - 1):
        raise ValueError(
            f"length must be {full - 1} or {full} for {packed.shape[-1]} bytes; got {length}"
        )
    return _unpacker(packed.ndim, length)(packed)


@cache
def _unpacker(ndim: int, length: int) -> Any:
    def run(packed: Array) -> Array:
        # not a stack of two arrays, which XLA writes down: this is one loop with whatever reads it
        halves = (packed[..., None] >> jnp.asarray(np.array([0, 4], np.uint8))) & 15
        return halves.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :length]

    return marked(run, "unpack_int4", ndim=ndim, length=length)


def _check_bytes(function: str, array: Any) -> None:
    if getattr(array, "dtype", None) != jnp.uint8:
        raise TypeError(
            f"{function} takes uint8; got {getattr(array, 'dtype', type(array).__name__)}"
        )
    if not array.ndim:
        raise ValueError(f"{function} takes an array of one axis at least; got a single number")
