"""Padding with a constant, by reflection, by repeating the edge, and around the circle."""

import operator
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.functional.windows import in_wide_floats, pad_axes

__all__ = ["pad"]


def _amounts(pad: Sequence[int], ndim: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Pair PyTorch's flat list, last axis first, with the axes that it pads."""
    if len(pad) % 2 or len(pad) > 2 * ndim:
        raise ValueError(
            f"pad must hold two numbers for each padded axis, the last axis first; got {tuple(pad)} for an "
            f"array of {ndim} axes"
        )
    try:
        amounts = [operator.index(amount) for amount in pad]
    except TypeError:
        raise TypeError(f"pad must hold whole numbers; got {tuple(pad)}") from None
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    return [ndim - 1 - i for i in range(len(pairs))], pairs


def _reflect(input: Array, axis: int, low: int, high: int) -> Array:
    size = input.shape[axis]
    if max(low, high) >= size:
        raise ValueError(
            f"reflection padding must be smaller than the axis; got {(low, high)} for {size} elements"
        )
    before = lax.rev(lax.slice_in_dim(input, 1, low + 1, 1, axis), (axis,))
    after = lax.rev(lax.slice_in_dim(input, size - 1 - high, size - 1, 1, axis), (axis,))
    return lax.concatenate([before, input, after], axis)


def _replicate(input: Array, axis: int, low: int, high: int) -> Array:
    def repeat(index: int, times: int) -> Array:
        edge = lax.slice_in_dim(input, index, index + 1, 1, axis)
        return lax.broadcast_in_dim(
            lax.squeeze(edge, (axis,)),
            (*input.shape[:axis], times, *input.shape[axis + 1 :]),
            [i for i in range(input.ndim) if i != axis],
        )

    return lax.concatenate([repeat(0, low), input, repeat(input.shape[axis] - 1, high)], axis)


def _wrap(input: Array, axis: int, low: int, high: int) -> Array:
    size = input.shape[axis]
    if max(low, high) > size:
        raise ValueError(
            f"circular padding must not go around more than once; got {(low, high)} for {size} elements"
        )
    before = lax.slice_in_dim(input, size - low, size, 1, axis)
    after = lax.slice_in_dim(input, 0, high, 1, axis)
    return lax.concatenate([before, input, after], axis)


_EXTENSIONS = {"reflect": _reflect, "replicate": _replicate, "circular": _wrap}


def _extend_axis(mode: str, input: Array, axis: int, low: int, high: int) -> Array:
    grow = max(low, 0), max(high, 0)
    crop = max(-low, 0), max(-high, 0)
    if mode == "circular":  # the circle is that of what is left; the others look at the whole axis
        input = _crop(input, axis, *crop)
    if any(grow):
        input = _EXTENSIONS[mode](input, axis, *grow)
    return input if mode == "circular" else _crop(input, axis, *crop)


def _crop(input: Array, axis: int, low: int, high: int) -> Array:
    if not (low or high):
        return input
    return lax.slice_in_dim(input, low, input.shape[axis] - high, 1, axis)


def extend(
    input: Array, axes: Sequence[int], amounts: Sequence[tuple[int, int]], mode: str
) -> Array:
    """Continue each axis by what is positive, in one of the modes except constant; crop it by what is negative.

    Raises:
        ValueError: the amounts exceed what the mode can continue an axis by.
    """

    def whole(input: Array) -> Array:
        for axis, (low, high) in zip(axes, amounts, strict=True):
            input = _extend_axis(mode, input, axis, low, high)
        return input

    return in_wide_floats(whole, input)


def pad(
    input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Array:
    """Pad the last axes of an array; negative amounts crop.

    ``pad`` lists the elements before and after the last axis, then before and after the one but last, and
    so on: ``(left, right, top, bottom)`` for images.

    * ``"constant"``: by ``value``.
    * ``"reflect"``: mirrored at the edge, which is not repeated: ``c b | a b c | b a``.
    * ``"replicate"``: by the element at the edge: ``a a | a b c | c c``.
    * ``"circular"``: around the circle: ``b c | a b c | a b``.

    Args:
        input: any array; with a mode other than constant, one of more axes than are padded.
        pad: an even number of amounts.
        mode: one of the four.
        value: of constant padding; ``None`` for zero.

    Returns:
        The array with each padded axis of length ``before + length + after``.

    Raises:
        ValueError: the amounts do not fit the array, or the mode is unknown.
        TypeError: the amounts are no whole numbers.

    Example:
        >>> F.pad(jnp.array([[1, 2, 3]]), (2, -1), mode="reflect")
        Array([[3, 2, 1, 2]], dtype=int32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pad.html
    """
    check_choice("mode", mode, ("constant", *_EXTENSIONS))
    input = jnp.asarray(input)
    axes, amounts = _amounts(pad, input.ndim)
    for axis, (low, high) in zip(axes, amounts, strict=True):
        size = input.shape[axis]
        kept = min(low, 0) + min(high, 0) if mode == "constant" else low + high
        empty = mode in ("reflect", "replicate") and len(axes) == 1 and size + kept == 0
        if size + kept < 0 or empty:
            raise ValueError(f"padding {(low, high)} leaves nothing of an axis of {size} elements")
    if mode == "constant":
        return pad_axes(input, axes, amounts, 0 if value is None else value)
    if value:
        raise ValueError(f"padding mode {mode!r} takes no value; got {value!r}")
    if input.ndim <= len(axes):
        raise ValueError(
            f"padding mode {mode!r} of {len(axes)} axes needs an array of more axes; got shape {input.shape}"
        )
    return extend(input, axes, amounts, mode)
