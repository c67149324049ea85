"""Resizing one axis: which elements each output reads, and by which weights.

Every mode of `interpolate` separates into maps along one axis, known before any data: ``source_table`` computes the
table of one axis with NumPy, ``resample`` applies it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.functional.images.padding import extend
from funcnet.functional.pooling.linear_map import sums_at_places

__all__ = ["SourceTable", "resample", "source_table"]


@dataclass(frozen=True)
class SourceTable:
    """For each output of an axis the elements it reads, ``(output, elements read)``, and their weights.

    An index outside of the axis stands for the element at that edge.
    """

    index: np.ndarray
    weight: np.ndarray | None


def source_table(
    mode: str,
    size: int,
    output: int,
    scale: float | None,
    align_corners: bool,
    antialias: bool,
    axes: int = 2,
) -> SourceTable:
    """Compute the table of one axis.

    Args:
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"cubic"`` or ``"lanczos"``.
        size: elements of the axis.
        output: elements to make.
        scale: the factor asked for, which ``output / size`` may only approximate; ``None`` for the latter.
        align_corners: whether the first and last elements of both stay in place.
        antialias: whether to widen the filter to the distance of outputs.
        axes: how many spatial axes there are; matters to ``"nearest"`` alone.
    """
    if mode.startswith("nearest"):
        return _nearest(size, output, scale, mode == "nearest-exact", axes)
    if align_corners:
        step = (size - 1) / (output - 1) if output > 1 else 0.0
    else:
        step = 1.0 / scale if scale else size / output
    if antialias:
        return _filtered(_FILTERS[mode], _SUPPORT[mode], size, output, step)
    place = np.arange(output) * step if align_corners else (np.arange(output) + 0.5) * step - 0.5
    if mode == "linear" and size == output:  # whatever the scale, as in PyTorch
        place = np.arange(size) * 1.0
    start = np.minimum(np.floor(place).astype(int), size - 1)
    fraction = np.minimum(place - start, 1.0)[:, None]
    offsets = np.arange(2) if mode == "linear" else np.arange(-1, 3)
    weight = (
        _triangle(offsets - fraction) if mode == "linear" else _cubic(offsets - fraction, -0.75)
    )
    return SourceTable(start[:, None] + offsets, weight)


def _nearest(size: int, output: int, scale: float | None, exact: bool, axes: int) -> SourceTable:
    """PyTorch computes these positions in float32, whatever the array's dtype."""
    step = np.float32(1.0 / scale if scale else np.float32(size) / np.float32(output))
    place = np.arange(output, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    index = np.minimum(np.floor(place * step).astype(int), size - 1)
    if (
        axes == 2 and not exact and output in (size, 2 * size)
    ):  # of images alone, whatever the scale
        index = np.arange(output) * size // output
    return SourceTable(index[:, None], None)


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
) -> SourceTable:
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
    return SourceTable(index, weight / np.where(total == 0, 1.0, total))


_FEW_ELEMENTS = 4
"""Elements read up to which gathering each of them beats one product with a dense matrix."""

_LONGEST_PERIOD = 8


def resample(input: Array, axis: int, table: SourceTable) -> Array:
    """Apply a table along an axis."""
    index, weight = table.index, table.weight
    size = input.shape[axis]
    times = len(index) // size
    if weight is None and np.array_equal(index[:, 0], np.repeat(np.arange(size), times)):
        return jnp.repeat(input, times, axis) if times > 1 else input
    if weight is not None and index.shape[1] > _FEW_ELEMENTS:
        return _matrix(input, axis, np.clip(index, 0, size - 1), weight)
    period = _period(table, size)
    if period:
        return _by_slices(input, axis, table, period)
    return sums_at_places(input, np.clip(index, 0, size - 1), axis, weight)


def _period(table: SourceTable, size: int) -> int:
    """Return after how many outputs the pattern repeats itself, a few elements on; 0 if it does not."""
    output = len(table.index)
    periods = math.gcd(size, output)
    phases, step = output // periods, size // periods
    if phases > _LONGEST_PERIOD:
        return 0
    starts = table.index[:, 0].reshape(periods, phases) - np.arange(periods)[:, None] * step
    same = bool((starts == starts[0]).all())
    if table.weight is not None:
        weights = table.weight.reshape(periods, phases, -1)
        same = same and np.allclose(weights, weights[0], rtol=0.0, atol=1e-12)
    return phases if same else 0


def _by_slices(input: Array, axis: int, table: SourceTable, phases: int) -> Array:
    """Make every ``phases``-th output at once from strided slices, whose gradient needs no scatter."""
    size, reads = input.shape[axis], table.index.shape[1]
    periods = len(table.index) // phases
    step = size // periods
    low = max(0, -int(table.index.min()))
    high = max(0, int(table.index.max()) - size + 1)
    padded = extend(input, (axis,), ((low, high),), "replicate")
    outputs = []
    for phase in range(phases):
        terms = []
        for n in range(reads):
            start = int(table.index[phase, n]) + low
            limit = start + (periods - 1) * step + 1
            term = lax.slice_in_dim(padded, start, limit, step, axis)
            if table.weight is not None:
                term = term * np.asarray(table.weight[phase, n], input.dtype)
            terms.append(term)
        outputs.append(reduce(add, terms))
    if phases == 1:
        return outputs[0]
    shape = (*input.shape[:axis], len(table.index), *input.shape[axis + 1 :])
    return jnp.stack(outputs, axis + 1).reshape(shape)


def _matrix(input: Array, axis: int, index: np.ndarray, weight: np.ndarray) -> Array:
    matrix = np.zeros((index.shape[0], input.shape[axis]))
    np.add.at(matrix, (np.arange(index.shape[0])[:, None], index), weight)
    output = jnp.tensordot(
        input, matrix.astype(input.dtype), ((axis,), (1,)), precision=lax.Precision.HIGHEST
    )
    return jnp.moveaxis(output, -1, axis)
