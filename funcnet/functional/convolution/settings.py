"""What plain and transposed convolution share: their settings, the checks of their arrays, batch axes and bias.

Settings are resolved and checked once: by `funcnet.functional.conv2d` in each call, by a layer when it is constructed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_divisible, check_non_negative, check_positive
from funcnet.functional.promotion import add_bias
from funcnet.functional.windows import integers_per_axis

__all__ = [
    "ConvolutionSettings",
    "add_bias_and_batch_axes",
    "check_and_merge_batch_axes",
    "data_layout",
    "padding_pairs",
    "resolve_settings",
]


class ConvolutionSettings(NamedTuple):
    """How filters move over an array, with one number for each spatial axis; made by `resolve_settings`."""

    stride: tuple[int, ...]
    padding: Any  # a number for each axis; of plain convolution also "same" or "valid"
    dilation: tuple[int, ...]
    groups: int
    channels_last: bool
    output_padding: tuple[int, ...] = ()  # of transposed convolution alone


def resolve_settings(
    axes: int,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    channels_last: bool,
    output_padding: Any = None,
) -> ConvolutionSettings:
    """Give each spatial axis its settings, and check them.

    Args:
        axes: the number of spatial axes.
        stride: one whole number, or one an axis; so are the others.
        padding: also ``"same"`` or ``"valid"``, of plain convolution.
        dilation: the distance between the elements of a filter.
        groups: the number of blocks of channels that do not mix.
        channels_last: whether channels are the last axis.
        output_padding: of transposed convolution; ``None`` for a plain one.

    Raises:
        TypeError: a setting is not a whole number.
        ValueError: a setting is out of range.

    >>> resolve_settings(2, 1, "valid", (1, 2), 1, False)[:3]
    ((1, 1), 'valid', (1, 2))
    """
    stride, dilation = (
        integers_per_axis("stride", stride, axes),
        integers_per_axis("dilation", dilation, axes),
    )
    check_positive("groups", groups)
    check_positive("stride", stride)
    check_positive("dilation", dilation)
    if isinstance(padding, str) and output_padding is None:
        check_choice("padding", padding, ("same", "valid"))
        if padding == "same" and any(step != 1 for step in stride):
            raise ValueError(f"padding='same' needs stride 1; got stride {stride}")
    else:
        padding = integers_per_axis("padding", padding, axes)
        check_non_negative("padding", padding)
    if output_padding is None:
        return ConvolutionSettings(stride, padding, dilation, groups, channels_last)
    extra = integers_per_axis("output_padding", output_padding, axes)
    check_non_negative("output_padding", extra)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"output_padding must be smaller than stride or dilation; got {extra} for {stride} and {dilation}"
        )
    return ConvolutionSettings(stride, padding, dilation, groups, channels_last, extra)


def padding_pairs(
    padding: str | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return the padding before and after each axis; where ``"same"`` is odd, there is more after.

    >>> padding_pairs("same", (4,), (1,)), padding_pairs((2,), (4,), (1,))
    (((1, 2),), ((2, 2),))
    """
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((amount // 2, amount - amount // 2) for amount in total)
    amounts = (0,) * len(kernel) if isinstance(padding, str) else padding
    return tuple((amount, amount) for amount in amounts)


def data_layout(axes: int, channels_last: bool) -> str:
    """Return the layout of the data in XLA's letters.

    >>> data_layout(2, False), data_layout(2, True)
    ('NCHW', 'NHWC')
    """
    spatial = "DHW"[3 - axes :]
    return f"N{spatial}C" if channels_last else f"NC{spatial}"


def check_and_merge_batch_axes(
    name: str,
    input: Array,
    weight: Array,
    bias: Array | None,
    settings: ConvolutionSettings,
    *,
    transposed: bool = False,
) -> Array:
    """Check that the arrays fit each other, and return the input with exactly one batch axis.

    Raises:
        ValueError: an array lacks axes, channels or elements.
    """
    axes, groups = len(settings.stride), settings.groups
    if input.ndim < axes + 1 or 0 in input.shape[-axes - 1 :]:
        layout = ", ".join(data_layout(axes, settings.channels_last))
        raise ValueError(
            f"{name}: input must have shape ({layout}), N optional, only N may be 0; got {input.shape}"
        )
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise ValueError(
            f"{name}: weight must have {axes + 2} axes, none of them empty; got shape {weight.shape}"
        )
    first = "in_channels" if transposed else "out_channels"
    check_divisible(first, weight.shape[0], "groups", groups)
    first_channels, second_channels = weight.shape[0], weight.shape[1] * groups
    in_channels = first_channels if transposed else second_channels
    out_channels = second_channels if transposed else first_channels
    if input.shape[-1 if settings.channels_last else -axes - 1] != in_channels:
        raise ValueError(
            f"{name}: weight of shape {weight.shape} with groups={groups} expects {in_channels} input channels; "
            f"got input of shape {input.shape}"
        )
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"{name}: bias must have shape ({out_channels},); got {bias.shape}")
    if input.ndim == axes + 2:
        return input
    batch_shape, image_shape = input.shape[: -axes - 1], input.shape[-axes - 1 :]
    return input.reshape(math.prod(batch_shape), *image_shape)


def add_bias_and_batch_axes(
    output: Array, bias: Array | None, input: Array, channels_last: bool, dtype: Any
) -> Array:
    """Add one number for each channel; give the output the batch axes of the input, and its dtype."""
    if bias is not None:
        axes = output.ndim - 2
        if not channels_last:
            bias = lax.broadcast_in_dim(bias, (1, bias.size, *(1,) * axes), (1,))
        output = add_bias(output, bias)
    if output.dtype != dtype:
        output = output.astype(dtype)
    if input.ndim == output.ndim:
        return output
    batch_shape = input.shape[: 1 - output.ndim]
    return output.reshape(*batch_shape, *output.shape[1:])
