"""Transposed convolution in one to three dimensions: the map that convolution's gradient applies."""

from collections.abc import Sequence
from typing import Any

from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_divisible, check_non_negative, check_positive
from funcnet.functional.convolution.phases import by_phases, has_phases
from funcnet.functional.convolution.plain import add_bias, check_dimensions, layout_of
from funcnet.functional.windows import batched, integers

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def _filters(weight: Array, groups: int) -> tuple[Array, str]:
    """Flip ``(in, out / groups, ...)`` into a plain convolution's filters, with the letters of their layout."""
    spatial = tuple(range(2, weight.ndim))
    letters = "DHW"[-len(spatial) :]
    weight = lax.rev(weight, spatial)
    if groups == 1:
        return weight, f"IO{letters}"
    inputs, outputs, *kernel = weight.shape
    blocks = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    return blocks.reshape(groups * outputs, inputs // groups, *kernel), f"OI{letters}"


def _check_shapes(
    name: str, input: Array, weight: Array, bias: Array | None, channels: int, groups: int
) -> None:
    check_positive("groups", groups)
    check_divisible("in_channels", weight.shape[0], "groups", groups)
    if channels != weight.shape[0]:
        raise ValueError(
            f"{name}: weight of shape {weight.shape} expects {weight.shape[0]} input channels; got input of shape "
            f"{input.shape}"
        )
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ValueError(
            f"{name}: bias must have shape ({weight.shape[1] * groups},); got {bias.shape}"
        )


def _conv_transpose(
    axes: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    channels_last: bool,
) -> Array:
    name, layout = f"conv_transpose{axes}d", layout_of(axes, channels_last)
    check_dimensions(name, input, weight, axes, f"({', '.join(layout)}), N optional")
    channels = input.shape[-1 if channels_last else -axes - 1]
    _check_shapes(name, input, weight, bias, channels, groups)
    step, spread = integers("stride", stride, axes), integers("dilation", dilation, axes)
    margin = integers("padding", padding, axes)
    extra = integers("output_padding", output_padding, axes)
    check_positive("stride", step)
    check_positive("dilation", spread)
    check_non_negative("padding", margin)
    check_non_negative("output_padding", extra)
    sizes = input.shape[-axes - 1 : -1] if channels_last else input.shape[-axes:]
    margins, output = [], []
    for size, k, s, p, e, d in zip(
        sizes, weight.shape[2:], step, margin, extra, spread, strict=True
    ):
        if e >= max(s, d):
            raise ValueError(
                f"output_padding must be smaller than stride or dilation; got {extra} for {step} and {spread}"
            )
        reach = d * (k - 1)
        output.append((size - 1) * s + reach + 1 + e - 2 * p)
        margins.append((reach - p, reach - p + e))
    if min(output) < 1:
        raise ValueError(f"{name}: padding {margin} leaves nothing of the output")

    filters, kernel = _filters(weight, groups)
    dimensions = (layout, kernel, layout)

    def direct(x: Array, filters: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            filters,
            (1,) * axes,
            margins,
            lhs_dilation=step,
            rhs_dilation=spread,
            dimension_numbers=dimensions,
            feature_group_count=groups,
        )

    def phased(x: Array, filters: Array) -> Array:
        return by_phases(x, filters, step, margin, spread, output, groups, dimensions)

    def convolve(x: Array) -> Array:
        if has_phases(step):
            y = lax.platform_dependent(x, filters, cpu=phased, default=direct)
        else:
            y = direct(x, filters)
        return add_bias(y, bias, axes, channels_last)

    return batched(convolve, input, axes + 1)


def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Spread each element of a sequence over a window of the output: the transpose of `conv1d`.

    ``output[n, o, stride * x + dilation * t - padding] += weight[i, o, t] * input[n, i, x]``, plus ``bias[o]``.

    Args:
        input: ``(..., C_in, L)``, any number of batch axes; ``(..., L, C_in)`` if ``channels_last``.
        weight: ``(C_in, C_out / groups, K)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Distance in the output between neighbours of the input.
        padding: Elements cut off on both sides of the output.
        output_padding: Elements added at its end, to tell apart the sizes that `conv1d` maps to ``L``.
        groups: Number of blocks of channels that do not mix.
        dilation: Distance between taps.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, L_out)`` with ``L_out = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1``.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.

    Example:
        >>> F.conv_transpose1d(jnp.ones((1, 2)), jnp.ones((1, 1, 3)), stride=2)
        Array([[1., 1., 2., 1., 1.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose1d.html
    """
    settings = (stride, padding, output_padding, groups, dilation, channels_last)
    return _conv_transpose(1, input, weight, bias, *settings)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Spread each pixel over a window of the output image: the transpose of `conv2d`.

    Args:
        input: ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``.
        weight: ``(C_in, C_out / groups, K_h, K_w)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Distance in the output between neighbours of the input, one number or one an axis.
        padding: Elements cut off on both sides of each axis of the output.
        output_padding: Elements added at the end of each axis.
        groups: Number of blocks of channels that do not mix.
        dilation: Distance between taps.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, H_out, W_out)``, sizes as in `conv_transpose1d`.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.

    Example:
        >>> F.conv_transpose2d(jnp.ones((1, 6, 4, 4)), jnp.ones((6, 3, 2, 2)), stride=2).shape
        (1, 3, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose2d.html
    """
    settings = (stride, padding, output_padding, groups, dilation, channels_last)
    return _conv_transpose(2, input, weight, bias, *settings)


def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    channels_last: bool = False,
) -> Array:
    """Spread each element over a window of the output volume: the transpose of `conv3d`.

    Args:
        input: ``(..., C_in, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``.
        weight: ``(C_in, C_out / groups, K_d, K_h, K_w)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: Distance in the output between neighbours of the input, one number or one an axis.
        padding: Elements cut off on both sides of each axis of the output.
        output_padding: Elements added at the end of each axis.
        groups: Number of blocks of channels that do not mix.
        dilation: Distance between taps.
        channels_last: Channels are the last axis of input and output.

    Returns:
        ``(..., C_out, D_out, H_out, W_out)``, sizes as in `conv_transpose1d`.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.

    Example:
        >>> F.conv_transpose3d(jnp.ones((1, 2, 3, 4, 4)), jnp.ones((2, 3, 1, 2, 2)), stride=(1, 2, 2)).shape
        (1, 3, 3, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose3d.html
    """
    settings = (stride, padding, output_padding, groups, dilation, channels_last)
    return _conv_transpose(3, input, weight, bias, *settings)
