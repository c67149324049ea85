"""Transposed convolution in one to three dimensions: the map that convolution's gradient applies."""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import is_float, widest
from funcnet.functional.convolution.groups import group_by_group, shared_out
from funcnet.functional.convolution.phases import conv_transpose_by_phases, is_quicker_by_phases
from funcnet.functional.convolution.settings import (
    ConvolutionSettings,
    add_bias_and_batch_axes,
    check_and_merge_batch_axes,
    data_layout,
    resolve_settings,
)
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.promotion import with_parameters

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def _plain_filters(weight: Array, groups: int) -> tuple[Array, str]:
    """Flip ``(in, out / groups, ...)`` into a plain convolution's filters, with the letters of their layout."""
    spatial = tuple(range(2, weight.ndim))
    letters = "DHW"[-len(spatial) :]
    weight = lax.rev(weight, spatial)
    if groups == 1:
        return weight, f"IO{letters}"
    inputs, outputs, *kernel = weight.shape
    blocks = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    return blocks.reshape(groups * outputs, inputs // groups, *kernel), f"OI{letters}"


def convolve_transposed(
    input: Array, weight: Array, bias: Array | None, settings: ConvolutionSettings
) -> Array:
    """Convolve transposedly with settings that are checked already; shapes are checked here.

    Raises:
        ValueError: shapes do not fit each other, or padding leaves nothing of the output.
    """
    stride, cropped, dilation, groups, channels_last, extra = settings
    axes = len(stride)
    name, layout = f"conv_transpose{axes}d", data_layout(axes, channels_last)
    dtype, input, weight, bias = with_parameters(
        name, {"weight": weight, "bias": bias}, input=input
    )
    images = check_and_merge_batch_axes(name, input, weight, bias, settings, transposed=True)
    sizes = images.shape[1:-1] if channels_last else images.shape[2:]
    margins, output_sizes = [], []
    for size, k, s, p, e, d in zip(
        sizes, weight.shape[2:], stride, cropped, extra, dilation, strict=True
    ):
        reach = d * (k - 1)
        output_sizes.append((size - 1) * s + reach + 1 + e - 2 * p)
        margins.append((reach - p, reach - p + e))
    if min(output_sizes) < 1:
        raise ValueError(f"{name}: padding {cropped} leaves nothing of the output")
    filters, kernel_layout = _plain_filters(weight, groups)
    layouts = (layout, kernel_layout, layout)
    channels = -1 if channels_last else 1

    def in_groups(images: Array, filters: Array, groups: int) -> Array:
        return lax.conv_general_dilated(
            images,
            filters,
            window_strides=(1,) * axes,
            padding=margins,
            lhs_dilation=stride,
            rhs_dilation=dilation,
            dimension_numbers=layouts,
            feature_group_count=groups,
        )

    direct = shared_out(in_groups, images, filters, groups, channels)
    elsewhere: Callable[[Array, Array], Array] = direct
    if groups > 1 and images.dtype == jnp.float64:
        # not for each grouped convolution in float64 has cuDNN a plan
        alone = partial(in_groups, groups=1)
        elsewhere = partial(group_by_group, alone, groups=groups, axis=channels)
    if is_quicker_by_phases(stride):

        def on_cpu(images: Array, filters: Array) -> Array:
            # each phase adds to the gradient of the input: 16-bit floats are rounded after that
            wide = widest(images.dtype, jnp.float32) if is_float(images) else images.dtype
            by_phases = partial(
                conv_transpose_by_phases,
                stride=stride,
                padding=cropped,
                dilation=dilation,
                output=output_sizes,
                dimensions=layouts,
            )
            by_phases = shared_out(by_phases, images, filters, groups, channels)
            whole = let_xla_place(by_phases, images.astype(wide), filters.astype(wide), kept=1)
            return whole.astype(images.dtype)

        output = lax.platform_dependent(images, filters, cpu=on_cpu, default=elsewhere)
    elif elsewhere is direct:
        output = direct(images, filters)
    else:
        output = lax.platform_dependent(images, filters, cpu=direct, default=elsewhere)
    return add_bias_and_batch_axes(output, bias, input, channels_last, dtype)


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
        stride: distance in the output between neighbours of the input.
        padding: elements cut off on both sides of the output.
        output_padding: elements added at its end, to tell apart the sizes that `conv1d` maps to ``L``.
        groups: number of blocks of channels that do not mix.
        dilation: distance between the elements of a filter.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, L_out)`` with ``L_out = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1``.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv_transpose1d(jnp.ones((1, 2)), jnp.ones((1, 1, 3)), stride=2)
        Array([[1., 1., 2., 1., 1.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose1d.html
    """
    settings = resolve_settings(1, stride, padding, dilation, groups, channels_last, output_padding)
    return convolve_transposed(input, weight, bias, settings)


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
        stride: distance in the output between neighbours of the input, one number or one an axis.
        padding: elements cut off on both sides of each axis of the output.
        output_padding: elements added at the end of each axis.
        groups: number of blocks of channels that do not mix.
        dilation: distance between the elements of a filter.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, H_out, W_out)``, sizes as in `conv_transpose1d`.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv_transpose2d(jnp.ones((1, 6, 4, 4)), jnp.ones((6, 3, 2, 2)), stride=2).shape
        (1, 3, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose2d.html
    """
    settings = resolve_settings(2, stride, padding, dilation, groups, channels_last, output_padding)
    return convolve_transposed(input, weight, bias, settings)


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
        stride: distance in the output between neighbours of the input, one number or one an axis.
        padding: elements cut off on both sides of each axis of the output.
        output_padding: elements added at the end of each axis.
        groups: number of blocks of channels that do not mix.
        dilation: distance between the elements of a filter.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, D_out, H_out, W_out)``, sizes as in `conv_transpose1d`.

    Raises:
        ValueError: shapes do not fit each other, or ``output_padding`` reaches both stride and dilation.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv_transpose3d(jnp.ones((1, 2, 3, 4, 4)), jnp.ones((2, 3, 1, 2, 2)), stride=(1, 2, 2)).shape
        (1, 3, 3, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose3d.html
    """
    settings = resolve_settings(3, stride, padding, dilation, groups, channels_last, output_padding)
    return convolve_transposed(input, weight, bias, settings)
