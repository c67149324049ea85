"""The maximum over windows, one axis after another, with positions if asked for.

Windows separate: the maximum over a box is the maximum along one axis after another. Along an axis it is a
few rounds of choices between strided slices, on CPU several times quicker than XLA's windowed reduction and
the scatter that is its gradient. Ties go to the first element and NaN wins, as in PyTorch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.pooling.linear_map import elements_at_places
from funcnet.functional.windows import UnevenWindows, Windows, pad_axes

__all__ = [
    "Maxima",
    "elements_as_maxima",
    "larger_of",
    "maximum_over_axis",
    "maximum_over_windows",
]


class Maxima(NamedTuple):
    """The largest values found so far and, if asked for, their positions; padding has position -1."""

    value: Array
    position: Array | None

    def map(self, function: Callable[[Array], Array]) -> "Maxima":
        """Apply one function, such as a slice, to values and positions."""
        return Maxima(
            function(self.value), None if self.position is None else function(self.position)
        )


def larger_of(first: Maxima, second: Maxima) -> Maxima:
    """Choose the larger value at each place: the first of equals, and NaN over any number."""
    a, b = first.value, second.value
    choose_second = b > a
    if jnp.issubdtype(b.dtype, jnp.inexact):
        choose_second |= jnp.isnan(b)
    position = None
    if first.position is not None and second.position is not None:
        choose_second |= first.position < 0
        position = jnp.where(choose_second, second.position, first.position)
    return Maxima(lax.select(choose_second, b, a), position)


def elements_as_maxima(input: Array, axes: Sequence[int], with_positions: bool) -> Maxima:
    """Take each element as the largest of itself; its position counts row by row over the spatial axes."""
    if not with_positions:
        return Maxima(input, None)
    sizes = [input.shape[axis] for axis in axes]
    shape = [size if axis in axes else 1 for axis, size in enumerate(input.shape)]
    return Maxima(input, jnp.arange(int(np.prod(sizes))).reshape(shape))


def _lowest(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


_FEW_ELEMENTS = 8
"""Elements of a window up to which one slice each beats rearranging the array."""


def _over_axis(found: Maxima, axis: int, window: Windows | UnevenWindows) -> Maxima:
    if isinstance(window, UnevenWindows):
        return maximum_over_axis(_split_unevenly(found, axis, window), axis + 1)
    if window.is_disjoint and window.kernel > _FEW_ELEMENTS:
        return maximum_over_axis(found.map(lambda x: window.split(x, axis)), axis + 1)
    if window.kernel > _FEW_ELEMENTS:
        return _by_doubling(found, axis, window)
    return _by_slices(found, axis, window)


def _split_unevenly(found: Maxima, axis: int, window: UnevenWindows) -> Maxima:
    """Gather an axis into two, the windows and the elements of each; what shorter ones lack is as padding."""
    places = window.places
    inside = (places >= 0).reshape(*places.shape, *(1,) * (found.value.ndim - axis - 1))

    def split(array: Array, missing: Any) -> Array:
        taken = elements_at_places(array, places, axis)
        return jnp.where(inside, taken, jnp.asarray(missing, array.dtype))

    value = split(found.value, _lowest(found.value.dtype))
    return Maxima(value, None if found.position is None else split(found.position, -1))


def _by_slices(found: Maxima, axis: int, window: Windows) -> Maxima:
    elements = [found.map(lambda x, n=n: window.element(x, axis, n)) for n in range(window.kernel)]
    while len(elements) > 1:  # in pairs, as XLA takes long to compile a long chain of choices
        pairs = zip(elements[::2], elements[1::2], strict=False)
        elements = [larger_of(*pair) for pair in pairs] + elements[len(elements) // 2 * 2 :]
    return elements[0]


def maximum_over_axis(found: Maxima, axis: int) -> Maxima:
    """Reduce an axis to nothing, neighbours in pairs."""
    while (length := found.value.shape[axis]) > 1:
        even = length // 2 * 2
        pairs = larger_of(
            found.map(lambda x, end=even: lax.slice_in_dim(x, 0, end, 2, axis)),
            found.map(lambda x, end=even: lax.slice_in_dim(x, 1, end, 2, axis)),
        )
        if even < length:
            rest = found.map(lambda x, start=even: lax.slice_in_dim(x, start, None, 1, axis))
            pairs = _append(pairs, rest, axis)
        found = pairs
    return found.map(lambda x: lax.squeeze(x, (axis,)))


def _append(first: Maxima, last: Maxima, axis: int) -> Maxima:
    value = lax.concatenate([first.value, last.value], axis)
    if first.position is None or last.position is None:
        return Maxima(value, None)
    shape = last.value.shape
    position = [first.position, jnp.broadcast_to(last.position, shape)]
    return Maxima(value, lax.concatenate(position, axis))


def _by_doubling(found: Maxima, axis: int, window: Windows) -> Maxima:
    """Reduce wide windows in few steps: each is two overlapping windows of about half the width."""
    span = 1
    while span < window.kernel:
        step = min(span, window.kernel - span)
        offset = step * window.dilation
        length = found.value.shape[axis]
        found = larger_of(
            found.map(lambda x, end=length - offset: lax.slice_in_dim(x, 0, end, 1, axis)),
            found.map(lambda x, start=offset: lax.slice_in_dim(x, start, None, 1, axis)),
        )
        span += step
    return found.map(lambda x: window.element(x, axis, 0))


def maximum_over_windows(
    input: Array,
    axes: Sequence[int],
    over: Sequence[Windows | UnevenWindows],
    return_indices: bool,
) -> Any:
    """Reduce each window to its largest value; with ``return_indices`` also to where that was found."""
    lead = min(axes)  # batch axes, and channels unless they are last
    return let_xla_place(
        lambda input: _over_windows(input, axes, over, return_indices), input, kept=lead
    )


def _over_windows(
    input: Array,
    axes: Sequence[int],
    over: Sequence[Windows | UnevenWindows],
    return_indices: bool,
) -> Any:
    dtype = input.dtype
    if is_float(input) and any(isinstance(w, UnevenWindows) or not w.is_disjoint for w in over):
        input = input.astype(at_least_float32(dtype))  # the gradient adds up what overlaps
    found = elements_as_maxima(input, axes, return_indices)
    amounts = [(window.low, window.high) for window in over]
    padded = pad_axes(found.value, axes, amounts, _lowest(input.dtype))
    position = None if found.position is None else pad_axes(found.position, axes, amounts, -1)
    found = Maxima(padded, position)
    # The last axis first: the first of equals along rows, then along columns, is the first in the window.
    for axis, window in reversed(list(zip(axes, over, strict=True))):
        found = _over_axis(found, axis, window)
    value = found.value if found.value.dtype == dtype else found.value.astype(dtype)
    if found.position is None:
        return value
    return value, jnp.broadcast_to(found.position, found.value.shape)
