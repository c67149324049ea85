"""Transposed convolution as one plain convolution for each phase of the stride.

Outputs whose positions are equal modulo the stride read the input through the same taps: each such phase is a
convolution of stride one. XLA's gradient of the direct form with respect to the weights is, on CPU,
some twenty times slower.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod

import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.functional.windows import spatial_axes

__all__ = ["by_phases", "has_phases"]

_MOST_PHASES = 16


def has_phases(stride: Sequence[int]) -> bool:
    """Say whether the stride makes phases, and few enough to compile in reasonable time."""
    return 1 < prod(stride) <= _MOST_PHASES


@dataclass(frozen=True)
class Phase:
    """What the outputs of one phase read along one axis: every ``step``-th tap of the flipped filter."""

    start: int
    step: int
    taps: int
    dilation: int
    padding: tuple[int, int]


def _phase(
    number: int, size: int, kernel: int, stride: int, dilation: int, padding: int, length: int
) -> Phase | None:
    """Find the taps ``t`` with ``number + padding - dilation * t`` divisible by the stride."""
    common = gcd(dilation, stride)
    step = stride // common
    first = [t for t in range(min(step, kernel)) if (number + padding - dilation * t) % stride == 0]
    if not first:
        return None
    taps = (kernel - 1 - first[0]) // step + 1
    nearest = (number + padding - dilation * first[0]) // stride  # the input read by the first tap
    spread = dilation // common
    low = spread * (taps - 1) - nearest
    high = length - 1 + nearest - (size - 1)
    return Phase(kernel - 1 - first[0] - step * (taps - 1), step, taps, spread, (low, high))


def by_phases(
    input: Array,
    filters: Array,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output: Sequence[int],
    groups: int,
    dimensions: tuple[str, str, str],
) -> Array:
    """Convolve ``(N, ...)`` transposedly with flipped filters.

    Args:
        input: in the layout of ``dimensions``.
        filters: as an equal plain convolution of the dilated input would have them.
        stride: between neighbours of the input, for each axis, as all that follow.
        padding: cut off before the output.
        dilation: between taps.
        output: sizes of the output.
        groups: of channels.
        dimensions: the layouts in XLA's letters, such as ``("NCHW", "OIHW", "NCHW")``.
    """
    channels_last = dimensions[0].endswith("C")
    where = spatial_axes(input.ndim, len(stride), channels_last)
    lengths = [-(-size // step) for size, step in zip(output, stride, strict=True)]
    phases = [
        [_phase(r, input.shape[axis], *settings) for r in range(settings[1])]
        for axis, settings in zip(
            where,
            zip(filters.shape[2:], stride, dilation, padding, lengths, strict=True),
            strict=True,
        )
    ]
    shape = list(input.shape)
    shape[-1 if channels_last else 1] = filters.shape[dimensions[1].index("O")]
    for axis, length in zip(where, lengths, strict=True):
        shape[axis] = length

    def convolve(corner: tuple[Phase | None, ...]) -> Array:
        chosen = [phase for phase in corner if phase is not None]
        if len(chosen) < len(corner):
            return jnp.zeros(shape, input.dtype)
        weight = filters
        for axis, phase in enumerate(chosen):
            limit = phase.start + phase.step * (phase.taps - 1) + 1
            weight = lax.slice_in_dim(weight, phase.start, limit, phase.step, axis + 2)
        return lax.conv_general_dilated(
            input,
            weight,
            (1,) * len(where),
            [phase.padding for phase in chosen],
            rhs_dilation=[phase.dilation for phase in chosen],
            dimension_numbers=dimensions,
            feature_group_count=groups,
        )

    parts = [convolve(corner) for corner in product(*phases)]
    for axis, step in reversed(list(zip(where, stride, strict=True))):
        parts = [_interleave(parts[i : i + step], axis) for i in range(0, len(parts), step)]
    (result,) = parts
    for axis, size in zip(where, output, strict=True):
        if size < result.shape[axis]:
            result = lax.slice_in_dim(result, 0, size, 1, axis)
    return result


def _interleave(parts: Sequence[Array], axis: int) -> Array:
    """Merge arrays so that their elements along an axis take turns."""
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] *= len(parts)
    return jnp.stack(parts, axis + 1).reshape(shape)
