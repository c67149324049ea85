"""Resizing one axis: which elements each output reads, and by which weights.

Every mode of `interpolate` separates into maps along one axis, known before any data: ``taps`` computes the
table of one axis with NumPy, ``resample`` applies it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array

__all__ = ["Taps", "resample", "taps"]


@dataclass(frozen=True)
class Taps:
    """For each output of an axis the elements it reads, ``(output, taps)``, and their weights."""

    index: np.ndarray
    weight: np.ndarray | None


def taps(
    mode: str,
    size: int,
    output: int,
    scale: float | None,
    align_corners: bool,
    antialias: bool,
) -> Taps:
    """Compute the table of one axis.

    Args:
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"cubic"`` or ``"lanczos"``.
        size: Elements of the axis.
        output: Elements to make.
        scale: The factor asked for, which ``output / size`` may only approximate; ``None`` for the latter.
        align_corners: Whether the first and last elements of both stay in place.
        antialias: Whether to widen the filter to the distance of outputs.
    """
    if mode.startswith("nearest"):
        return _nearest(size, output, scale, mode == "nearest-exact")
    if align_corners:
        step = (size - 1) / (output - 1) if output > 1 else 0.0
    else:
        step = 1.0 / scale if scale else size / output
    if antialias:
        return _filtered(_FILTERS[mode], _SUPPORT[mode], size, output, step)
    place = np.arange(output) * step if align_corners else (np.arange(output) + 0.5) * step - 0.5
    if mode == "linear":
        place = np.maximum(place, 0.0)
    start = np.minimum(np.floor(place).astype(int), size - 1)
    fraction = np.clip(place - start, 0.0, 1.0)[:, None]
    offsets = np.arange(2) if mode == "linear" else np.arange(-1, 3)
    weight = (
        _triangle(offsets - fraction) if mode == "linear" else _cubic(offsets - fraction, -0.75)
    )
    return Taps(np.clip(start[:, None] + offsets, 0, size - 1), weight)


def _nearest(size: int, output: int, scale: float | None, exact: bool) -> Taps:
    """PyTorch computes these positions in float32, whatever the array's dtype."""
    step = np.float32(1.0 / scale if scale else np.float32(size) / np.float32(output))
    place = np.arange(output, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    index = np.minimum(np.floor(place * step).astype(int), size - 1)
    if not exact and output in (size, 2 * size):
        index = np.arange(output) * size // output
    return Taps(index[:, None], None)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_FILTERS = {"linear": _triangle, "cubic": _cubic, "lanczos": _lanczos}
_SUPPORT = {"linear": 1.0, "cubic": 2.0, "lanczos": 3.0}


def _filtered(
    kernel: Callable[[np.ndarray], np.ndarray],
    support: float,
    size: int,
    output: int,
    step: float,
) -> Taps:
    """Weigh all elements within a filter's reach, as Pillow does; weights sum to one.

    Positions are those of elements' middles even with ``align_corners``, as in PyTorch.
    """
    widen = max(step, 1.0)
    center = step * (np.arange(output) + 0.5)
    start = np.maximum((center - support * widen + 0.5).astype(int), 0)
    end = np.minimum((center + support * widen + 0.5).astype(int), size)
    offsets = np.arange(max(int((end - start).max()), 1))
    inside = offsets < (end - start)[:, None]
    index = start[:, None] + offsets
    weight = np.where(inside, kernel((index - center[:, None] + 0.5) / widen), 0.0)
    total = weight.sum(1, keepdims=True)
    return Taps(np.clip(index, 0, size - 1), weight / np.where(total == 0, 1.0, total))


_FEW = 4
"""Taps up to which gathering each of them beats one product with a dense matrix."""


def resample(input: Array, axis: int, table: Taps) -> Array:
    """Apply a table along an axis."""
    index, weight = table.index, table.weight
    if weight is None:
        return _repeat(input, axis, index[:, 0])
    if index.shape[1] > _FEW:
        return _matrix(input, axis, index, weight)
    shape = [-1 if i == axis else 1 for i in range(input.ndim)]
    total = None
    for tap in range(index.shape[1]):
        factor = weight[:, tap].reshape(shape).astype(input.dtype)
        term = jnp.take(input, index[:, tap], axis) * factor
        total = term if total is None else total + term
    assert total is not None
    return total


def _repeat(input: Array, axis: int, index: np.ndarray) -> Array:
    size = input.shape[axis]
    times = len(index) // size
    if np.array_equal(index, np.repeat(np.arange(size), max(times, 1))):
        return jnp.repeat(input, times, axis) if times > 1 else input
    return jnp.take(input, index, axis)


def _matrix(input: Array, axis: int, index: np.ndarray, weight: np.ndarray) -> Array:
    matrix = np.zeros((index.shape[0], input.shape[axis]))
    np.add.at(matrix, (np.arange(index.shape[0])[:, None], index), weight)
    output = jnp.tensordot(
        input, matrix.astype(input.dtype), ((axis,), (1,)), precision=lax.Precision.HIGHEST
    )
    return jnp.moveaxis(output, -1, axis)
