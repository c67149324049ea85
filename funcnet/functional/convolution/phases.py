"""Transposed convolution as one plain convolution for each phase of the stride.

Outputs whose positions are equal modulo the stride read the input through the same elements of the kernel: each
such phase is a convolution of stride one. XLA's gradient of the direct form with respect to the weights is, on CPU,
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

__all__ = ["conv_transpose_by_phases", "is_quicker_by_phases"]

_MOST_PHASES = 16


def is_quicker_by_phases(stride: Sequence[int]) -> bool:
    """Say whether the stride makes phases, and few enough to compile in reasonable time."""
    return 1 < prod(stride) <= _MOST_PHASES


@dataclass(frozen=True)
class PhaseKernel:
    """The part of a flipped kernel that one phase uses along one axis, and the plain convolution to do with it."""

    start: int
    """The first element used; then every ``step``-th one, ``size`` in all."""
    step: int
    size: int
    dilation: int
    padding: tuple[int, int]


def _phase_kernel(
    phase: int, size: int, kernel: int, stride: int, dilation: int, padding: int, length: int
) -> PhaseKernel | None:
    """Find the elements ``k`` of a kernel with ``phase + padding - dilation * k`` divisible by the stride."""
    common = gcd(dilation, stride)
    step = stride // common
    candidates = range(min(step, kernel))  # from then on the remainders repeat themselves
    first = next((k for k in candidates if (phase + padding - dilation * k) % stride == 0), None)
    if first is None:
        return None
    used = (kernel - 1 - first) // step + 1
    nearest = (phase + padding - dilation * first) // stride  # the input that the first one reads
    spread = dilation // common
    low = spread * (used - 1) - nearest
    high = length - 1 + nearest - (size - 1)
    # the filters are flipped, so that their part begins with the last of these elements
    start = kernel - 1 - first - step * (used - 1)
    return PhaseKernel(start, step, used, spread, (low, high))


def conv_transpose_by_phases(
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
        dilation: between the elements of the kernel.
        output: sizes of the output.
        groups: of channels.
        dimensions: the layouts in XLA's letters, such as ``("NCHW", "OIHW", "NCHW")``.
    """
    channels_last = dimensions[0].endswith("C")
    where = spatial_axes(input.ndim, len(stride), channels_last)
    lengths = [-(-size // step) for size, step in zip(output, stride, strict=True)]
    settings = zip(filters.shape[2:], stride, dilation, padding, lengths, strict=True)
    phases = [
        [_phase_kernel(phase, input.shape[axis], *own) for phase in range(own[1])]
        for axis, own in zip(where, settings, strict=True)
    ]
    shape = list(input.shape)
    shape[-1 if channels_last else 1] = filters.shape[dimensions[1].index("O")]
    for axis, length in zip(where, lengths, strict=True):
        shape[axis] = length

    parts = []
    for kernels in product(*phases):
        chosen = [kernel for kernel in kernels if kernel is not None]
        if len(chosen) < len(kernels):  # no element of the kernel reaches these outputs
            parts.append(jnp.zeros(shape, input.dtype))
            continue
        weight = filters
        for axis, kernel in enumerate(chosen):
            limit = kernel.start + kernel.step * (kernel.size - 1) + 1
            weight = lax.slice_in_dim(weight, kernel.start, limit, kernel.step, axis + 2)
        part = lax.conv_general_dilated(
            input,
            weight,
            (1,) * len(where),
            [kernel.padding for kernel in chosen],
            rhs_dilation=[kernel.dilation for kernel in chosen],
            dimension_numbers=dimensions,
            feature_group_count=groups,
        )
        parts.append(part)
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
