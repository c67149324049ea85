"""Schemes: how an array of floats is written in few bits, and read again.

A scheme turns an array into *parts*, a dict of arrays by name, and parts back into an array::

    parts = Int8().encode(weight)                 # {"values": int8, "scales": float32}
    weight = Int8().decode(parts, weight.shape, weight.dtype)

An array is seen as rows, one for each place along ``axis`` (the output channels of a weight), and a row as groups of
neighbours that share a scale; a last group that is not full counts as if zeros followed. All is computed in float32.
A group that holds NaN or an infinity is read as NaN in every place; `funcnet.compression.quantize` refuses it first.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_count, check_positive
from funcnet.core.dtypes import as_floats
from funcnet.functional.quantization.affine import (
    dequantize_linear,
    quantize_linear,
    scale_and_zero_point,
)
from funcnet.functional.quantization.normal_float import dequantize_nf4, quantize_nf4
from funcnet.functional.quantization.packing import pack_int4, unpack_int4

__all__ = ["Int4", "Int8", "NF4", "EncodedParts", "Scheme"]

EncodedParts = dict[str, Array]
"""What an array is written as: arrays by the names that stand behind the array's own in a file."""


@dataclass(frozen=True)
class Scheme:
    """How an array is written in few bits: the base of `Int8`, `Int4` and `NF4`.

    A scheme of one's own is a frozen dataclass that defines `encode` and `decode`, which are pure functions of
    arrays: what is under ``jax.vmap`` are the layers of a stack.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Signs(fn.compression.Scheme):
        ...     def encode(self, weight):
        ...         return {"signs": weight > 0, "size": jnp.abs(weight).mean()}
        ...     def decode(self, parts, shape, dtype):
        ...         return jnp.where(parts["signs"], parts["size"], -parts["size"]).astype(dtype)
        >>> parts = Signs().encode(jnp.array([1.0, -3.0]))
        >>> Signs().decode(parts, (2,), jnp.float32).tolist()
        [2.0, -2.0]
    """

    @abstractmethod
    def encode(self, array: Array) -> EncodedParts:
        """Write an array: arrays by name."""

    @abstractmethod
    def decode(self, parts: Mapping[str, Array], shape: tuple[int, ...], dtype: DType) -> Array:
        """Read an array of a shape, in a dtype."""

    def shapes(self, shape: tuple[int, ...], dtype: DType = jnp.float32) -> dict[str, Any]:
        """Return the shapes and dtypes of the parts of an array, without an array.

        Example:
            >>> fn.compression.Int4(group=32).shapes((8, 64))["values"]
            ShapeDtypeStruct(shape=(8, 32), dtype=uint8)
        """
        found = jax.eval_shape(self.encode, jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)))
        return {k: found[k] for k in sorted(found, key=lambda name: (name != "values", name))}


@dataclass(frozen=True)
class Int8(Scheme):
    """Whole numbers of 8 bits: a quarter of float32's bytes.

    ``values`` has the array's own shape. ``scales`` has a number for each row, or ``(rows, groups)``. Without
    symmetry ``zero_points`` is beside it.

    Args:
        symmetric: whether the range reaches as far below 0 as above; weights mostly do.
        group: how many neighbours of a row share a scale; None for the whole row.
        axis: along which rows are counted; None for one row that holds the whole array.
        scale_dtype: of the scales: float32, float16 or bfloat16.

    Example:
        >>> weight = jnp.array([[1.0, -0.5], [0.0, 4.0]])
        >>> scheme = fn.compression.Int8()
        >>> parts = scheme.encode(weight)
        >>> parts["values"].tolist(), parts["scales"].shape
        ([[127, -64], [0, 127]], (2,))
        >>> bool(abs(scheme.decode(parts, (2, 2), jnp.float32) - weight).max() < 0.01)
        True

    Reference: ``torch.ao.quantization.default_per_channel_weight_observer``.
    """

    symmetric: bool = True
    group: int | None = None
    axis: int | None = 0
    scale_dtype: DType = "float32"

    def __post_init__(self) -> None:
        _check_settings(self)

    def encode(self, array: Array) -> EncodedParts:
        """Write an array as ``values``, ``scales`` and perhaps ``zero_points``."""
        rows, scales, zeros = _rows_and_scales(self, array, bits=8, signed=True)
        codes = quantize_linear(rows, scales, zeros, axis=_scale_axis(self), block=self.group)
        parts = {"values": _from_rows(codes, array.shape, self.axis), "scales": scales}
        return parts if self.symmetric else parts | {"zero_points": zeros}

    def decode(self, parts: Mapping[str, Array], shape: tuple[int, ...], dtype: DType) -> Array:
        """Read an array."""
        scales, zeros = parts["scales"], parts.get("zero_points")
        if self.group is None:
            axis = None if self.axis is None or len(shape) < 2 else self.axis % len(shape)
            if axis is None:
                scales, zeros = scales.reshape(()), None if zeros is None else zeros.reshape(())
            return dequantize_linear(parts["values"], scales, zeros, axis=axis, dtype=dtype)
        rows = _to_rows(parts["values"], self.axis)
        made = dequantize_linear(rows, scales, zeros, axis=1, block=self.group, dtype=dtype)
        return _from_rows(made, shape, self.axis)


@dataclass(frozen=True)
class Int4(Scheme):
    """Whole numbers of 4 bits, two in a byte: an eighth of float32's bytes, and the scales.

    ``values`` is ``(rows, half a row's bytes)``, uint8, the first of two neighbours in the lower half. ``scales`` is
    ``(rows, groups)``, and so is ``zero_points`` without symmetry; with it the code of 0 is 8.

    Args:
        group: how many neighbours of a row share a scale; None for the whole row.
        symmetric: whether the range reaches as far below 0 as above: then 15 of the 16 codes are used.
        axis: along which rows are counted; None for one row that holds the whole array.
        scale_dtype: of the scales: float32, float16 or bfloat16.

    Example:
        >>> scheme = fn.compression.Int4(group=2)
        >>> {name: part.shape for name, part in scheme.encode(jnp.ones((3, 5))).items()}
        {'values': (3, 3), 'scales': (3, 3), 'zero_points': (3, 3)}

    Reference: Dettmers and Zettlemoyer, The case for 4-bit precision, 2022, https://arxiv.org/abs/2212.09720.
    """

    group: int | None = 32
    symmetric: bool = False
    axis: int | None = 0
    scale_dtype: DType = "float32"

    def __post_init__(self) -> None:
        _check_settings(self)

    def encode(self, array: Array) -> EncodedParts:
        """Write an array as ``values``, ``scales`` and perhaps ``zero_points``."""
        rows, scales, zeros = _rows_and_scales(self, array, bits=4, signed=False)
        how: dict[str, Any] = {"axis": _scale_axis(self), "block": self.group}
        codes = quantize_linear(rows, scales, zeros, bits=4, signed=False, **how)
        parts = {"values": pack_int4(codes), "scales": scales}
        return parts if self.symmetric else parts | {"zero_points": zeros}

    def decode(self, parts: Mapping[str, Array], shape: tuple[int, ...], dtype: DType) -> Array:
        """Read an array."""
        scales = parts["scales"]
        zeros = parts.get("zero_points", np.full(scales.shape, 8, np.uint8))
        codes = unpack_int4(parts["values"], _row_length(shape, self.axis))
        how: dict[str, Any] = {"axis": _scale_axis(self), "block": self.group}
        made = dequantize_linear(codes, scales, zeros, dtype=dtype, **how)
        return _from_rows(made, shape, self.axis)


@dataclass(frozen=True)
class NF4(Scheme):
    """Normal floats of 4 bits, two in a byte: 16 numbers that suit weights drawn from a normal distribution.

    Each group is scaled by its largest absolute number. ``values`` is ``(rows, half a row's bytes)``, ``scales`` is
    ``(rows, groups)``. With ``double`` scales are written in 8 bits as well, 256 of them with one scale:
    ``scales`` is int8, ``scales_of_scales`` and ``mean_of_scales`` are beside it.

    Args:
        group: how many neighbours of a row share a scale; None for the whole row.
        double: write the scales in 8 bits, too: 0.37 bits less for each number in groups of 64.
        axis: along which rows are counted; None for one row that holds the whole array, as the paper has it.
        scale_dtype: of the scales: float32, float16 or bfloat16.

    Example:
        >>> scheme = fn.compression.NF4(group=64, double=True)
        >>> {name: part.dtype.name for name, part in scheme.encode(jnp.ones((4, 64))).items()}
        {'values': 'uint8', 'scales': 'int8', 'scales_of_scales': 'float32', 'mean_of_scales': 'float32'}

    Reference: Dettmers et al., QLoRA, 2023, https://arxiv.org/abs/2305.14314.
    """

    group: int | None = 64
    double: bool = False
    axis: int | None = 0
    scale_dtype: DType = "float32"

    def __post_init__(self) -> None:
        _check_settings(self)

    def encode(self, array: Array) -> EncodedParts:
        """Write an array as ``values`` and ``scales``, which may have scales of their own."""
        rows = _to_rows(_floats(array), self.axis).astype(jnp.float32)
        grouped = _in_groups(rows, self.group)
        largest = jnp.abs(grouped).max(-1, initial=0)
        scales = jnp.where(jnp.isfinite(largest), largest, jnp.nan)
        parts = _doubled(scales, self.scale_dtype) if self.double else {}
        parts = parts or {"scales": scales.astype(self.scale_dtype)}
        read = self._scales(parts)
        codes = quantize_nf4(grouped / jnp.where(read == 0, 1, read)[..., None])
        return {"values": pack_int4(_from_groups(codes, rows.shape[1])), **parts}

    def decode(self, parts: Mapping[str, Array], shape: tuple[int, ...], dtype: DType) -> Array:
        """Read an array."""
        length = _row_length(shape, self.axis)
        numbers = dequantize_nf4(unpack_int4(parts["values"], length))
        grouped = _in_groups(numbers, self.group) * self._scales(parts)[..., None]
        made = _from_groups(grouped, length).astype(dtype)
        return _from_rows(made, shape, self.axis)

    def _scales(self, parts: Mapping[str, Array]) -> Array:
        """Read the scales, ``(rows, groups)``, in float32."""
        scales = parts["scales"]
        if not self.double:
            return scales.astype(jnp.float32)
        outer = parts["scales_of_scales"].astype(jnp.float32)
        flat = _in_groups(scales.reshape(1, -1).astype(jnp.float32), _SECOND)[0] * outer[:, None]
        shifted = flat.reshape(-1)[: scales.size].reshape(scales.shape)
        return shifted + parts["mean_of_scales"].astype(jnp.float32)


_SECOND = 256
"""How many scales share a scale of their own."""


def _doubled(scales: Array, dtype: DType) -> EncodedParts:
    mean = scales.mean().astype(dtype)
    flat = _in_groups((scales - mean.astype(jnp.float32)).reshape(1, -1), _SECOND)[0]
    largest = jnp.abs(flat).max(-1, initial=0)
    outer, _ = scale_and_zero_point(-largest, largest, dtype=dtype)
    codes = quantize_linear(flat, outer, axis=0).reshape(-1)[: scales.size]
    return {
        "scales": codes.reshape(scales.shape),
        "scales_of_scales": outer,
        "mean_of_scales": mean,
    }


# ---- rows and groups -----------------------------------------------------------------------------


def _check_settings(scheme: Any) -> None:
    if scheme.group is not None:
        check_count("group", scheme.group)
        check_positive("group", scheme.group)
    if scheme.axis is not None:
        check_count("axis", scheme.axis)
    if jnp.dtype(scheme.scale_dtype).name not in ("float32", "float16", "bfloat16"):
        raise ValueError(
            f"scale_dtype must be float32, float16 or bfloat16; got {scheme.scale_dtype!r}"
        )
    object.__setattr__(scheme, "scale_dtype", jnp.dtype(scheme.scale_dtype).name)


def _floats(array: Array) -> Array:
    (array,) = as_floats("a scheme", array=array)
    return array


def _to_rows(array: Array, axis: int | None) -> Array:
    """See an array as ``(rows, numbers of a row)``; arrays of fewer than two axes are one row."""
    if axis is None or array.ndim < 2:
        return array.reshape(1, array.size)
    array = jnp.moveaxis(array, axis, 0)
    return array.reshape(array.shape[0], math.prod(array.shape[1:]))


def _from_rows(rows: Array, shape: tuple[int, ...], axis: int | None) -> Array:
    """Undo `_to_rows`."""
    if axis is None or len(shape) < 2:
        return rows.reshape(shape)
    lengths = list(shape)
    first = lengths.pop(axis)
    return jnp.moveaxis(rows.reshape(first, *lengths), 0, axis)


def _row_length(shape: tuple[int, ...], axis: int | None) -> int:
    size = math.prod(shape)
    if axis is None or len(shape) < 2:
        return size
    return math.prod(n for i, n in enumerate(shape) if i != axis % len(shape))


def _in_groups(rows: Array, group: int | None) -> Array:
    """Cut rows into groups, ``(rows, groups, numbers)``; zeros fill the last one."""
    length = rows.shape[1]
    if group is None:
        return rows[:, None]
    missing = -length % group
    if missing:
        rows = jnp.pad(rows, ((0, 0), (0, missing)))
    return rows.reshape(rows.shape[0], (length + missing) // group, group)


def _from_groups(grouped: Array, length: int) -> Array:
    """Undo `_in_groups`."""
    rows, groups, group = grouped.shape
    return grouped.reshape(rows, groups * group)[:, :length]


def _scale_axis(scheme: Any) -> int:
    """Say along which axis of rows scales differ: from row to row, or within a row too."""
    return 0 if scheme.group is None else 1


def _rows_and_scales(scheme: Any, array: Array, *, bits: int, signed: bool) -> tuple[Any, Any, Any]:
    rows = _to_rows(_floats(array), scheme.axis)
    grouped = _in_groups(rows, scheme.group).astype(jnp.float32)
    scales, zeros = scale_and_zero_point(
        grouped.min(-1, initial=0),
        grouped.max(-1, initial=0),
        bits=bits,
        signed=signed,
        symmetric=scheme.symmetric,
        dtype=scheme.scale_dtype,
    )
    if scheme.group is None:
        scales, zeros = scales.reshape(rows.shape[0]), zeros.reshape(rows.shape[0])
    return rows, scales, zeros
