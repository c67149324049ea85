"""Convolution in one to three dimensions: PyTorch's arguments and layouts on XLA's one primitive."""

from collections.abc import Sequence
from typing import Any

from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_divisible, check_non_negative, check_positive
from funcnet.functional.convolution.depthwise import depthwise, is_depthwise
from funcnet.functional.windows import batched, integers

__all__ = ["conv1d", "conv2d", "conv3d"]

_SPATIAL = ("W", "HW", "DHW")


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding before and after each axis that keeps its size; odd ones pad more after.

    >>> same_padding((4,), (1,))
    [(1, 2)]
    """
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(amount // 2, amount - amount // 2) for amount in total]


def _padding(
    padding: Any, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        check_choice("padding", padding, ("same", "valid"))
        if padding == "valid":
            return [(0, 0)] * len(kernel)
        if any(step != 1 for step in stride):
            raise ValueError(f"padding='same' needs stride 1; got stride {stride}")
        return same_padding(kernel, dilation)
    amounts = integers("padding", padding, len(kernel))
    check_non_negative("padding", amounts)
    return [(amount, amount) for amount in amounts]


def _check_shapes(
    name: str, input: Array, weight: Array, bias: Array | None, channels: int, groups: int
) -> None:
    check_positive("groups", groups)
    check_divisible("out_channels", weight.shape[0], "groups", groups)
    if channels != weight.shape[1] * groups:
        raise ValueError(
            f"{name}: weight of shape {weight.shape} with groups={groups} expects "
            f"{weight.shape[1] * groups} input channels; got input of shape {input.shape}"
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"{name}: bias must have shape ({weight.shape[0]},); got {bias.shape}")


def add_bias(output: Array, bias: Array | None, axes: int, channels_last: bool) -> Array:
    """Add one number for each channel."""
    if bias is None:
        return output
    if not channels_last:
        bias = lax.broadcast_in_dim(bias, (1, bias.size, *(1,) * axes), (1,))
    return output + bias


def check_dimensions(name: str, input: Array, weight: Array, axes: int, layout: str) -> None:
    """Raise ``ValueError`` unless input and weight have the axes of an ``axes``-d convolution."""
    if input.ndim < axes + 1 or 0 in input.shape[-axes - 1 :]:
        raise ValueError(
            f"{name}: input must have shape {layout}, only N may be 0; got {input.shape}"
        )
    if weight.ndim != axes + 2:
        raise ValueError(f"{name}: weight must have {axes + 2} axes; got shape {weight.shape}")


def layout_of(axes: int, channels_last: bool) -> str:
    """Return the data layout in XLA's letters.

    >>> layout_of(2, False), layout_of(2, True)
    ('NCHW', 'NHWC')
    """
    spatial = _SPATIAL[axes - 1]
    return f"N{spatial}C" if channels_last else f"NC{spatial}"


def _conv(
    axes: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    channels_last: bool,
) -> Array:
    name, layout = f"conv{axes}d", layout_of(axes, channels_last)
    check_dimensions(name, input, weight, axes, f"({', '.join(layout)}), N optional")
    channels = input.shape[-1 if channels_last else -axes - 1]
    _check_shapes(name, input, weight, bias, channels, groups)
    kernel = weight.shape[2:]
    step, spread = integers("stride", stride, axes), integers("dilation", dilation, axes)
    check_positive("stride", step)
    check_positive("dilation", spread)
    margins = _padding(padding, kernel, step, spread)
    sizes = input.shape[-axes - 1 : -1] if channels_last else input.shape[-axes:]
    for size, k, d, (low, high) in zip(sizes, kernel, spread, margins, strict=True):
        if size + low + high < d * (k - 1) + 1:
            raise ValueError(
                f"{name}: a kernel of {k} taps, {d} apart, is larger than the padded input "
                f"({size} + {low} + {high}); use a smaller kernel or more padding"
            )

    def general(x: Array, weight: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            weight,
            step,
            margins,
            rhs_dilation=spread,
            dimension_numbers=(layout, f"OI{_SPATIAL[axes - 1]}", layout),
            feature_group_count=groups,
        )

    def by_taps(x: Array, weight: Array) -> Array:
        return depthwise(x, weight, step, tuple(margins), spread, channels_last)

    def convolve(x: Array) -> Array:
        if is_depthwise(weight, groups):
            output = lax.platform_dependent(x, weight, cpu=by_taps, default=general)
        else:
            output = general(x, weight)
        return add_bias(output, bias, axes, channels_last)

    return batched(convolve, input, axes + 1)


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Convolve sequences of channels with a bank of filters (cross-correlation, as in PyTorch).

    ``output[n, o, x] = bias[o] + sum_{i, t} weight[o, i, t] * input[n, i, stride * x + dilation * t - padding]``

    Args:
        input: ``(..., C_in, L)``, any number of batch axes; ``(..., L, C_in)`` if ``channels_last``.
        weight: ``(C_out, C_in / groups, K)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Step between windows.
        padding: Zeros added on both sides, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, L_out)`` with ``L_out = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1``.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.

    Example:
        >>> F.conv1d(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3)))
        Array([[[3., 3.]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv1d.html
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups, channels_last)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Convolve images with a bank of filters: `conv1d` over two spatial axes.

    Args:
        input: ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``.
        weight: ``(C_out, C_in / groups, K_h, K_w)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Step between windows, one number or one an axis.
        padding: Zeros added on both sides of each axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, H_out, W_out)``, sizes as in `conv1d`.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.

    Example:
        >>> F.conv2d(jnp.ones((1, 3, 8, 8)), jnp.ones((6, 3, 3, 3)), padding="same").shape
        (1, 6, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups, channels_last)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Convolve volumes with a bank of filters: `conv1d` over three spatial axes.

    Args:
        input: ``(..., C_in, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        weight: ``(C_out, C_in / groups, K_d, K_h, K_w)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Step between windows, one number or one an axis.
        padding: Zeros added on both sides of each axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, D_out, H_out, W_out)``, sizes as in `conv1d`.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.

    Example:
        >>> F.conv3d(jnp.ones((1, 3, 4, 8, 8)), jnp.ones((6, 3, 3, 3, 3)), stride=(1, 2, 2)).shape
        (1, 6, 2, 3, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv3d.html
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups, channels_last)
