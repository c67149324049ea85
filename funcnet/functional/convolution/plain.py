"""Convolution in one to three dimensions: PyTorch's arguments and layouts on XLA's one primitive."""

from collections.abc import Sequence
from functools import partial

from jax import lax

from funcnet.core.aliases import Array
from funcnet.functional.convolution.depthwise import depthwise, is_depthwise
from funcnet.functional.convolution.groups import shared_out
from funcnet.functional.convolution.on_cpu import ImageFilter, convolve_on_cpu, is_quicker_on_cpu
from funcnet.functional.convolution.settings import (
    ConvolutionSettings,
    add_bias_and_batch_axes,
    check_and_merge_batch_axes,
    data_layout,
    padding_pairs,
    resolve_settings,
)
from funcnet.functional.explicit_meshes import devices_of, let_xla_place
from funcnet.functional.promotion import with_parameters

__all__ = ["conv1d", "conv2d", "conv3d"]


def convolve(
    input: Array, weight: Array, bias: Array | None, settings: ConvolutionSettings
) -> Array:
    """Convolve with settings that are checked already; what depends on the arrays' shapes is checked here.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.
    """
    stride, _, dilation, groups, channels_last, _ = settings
    axes = len(stride)
    name, layout = f"conv{axes}d", data_layout(axes, channels_last)
    dtype, input, weight, bias = with_parameters(
        name, {"weight": weight, "bias": bias}, input=input
    )
    images = check_and_merge_batch_axes(name, input, weight, bias, settings)
    kernel = weight.shape[2:]
    margins = padding_pairs(settings.padding, kernel, dilation)
    sizes = images.shape[1:-1] if channels_last else images.shape[2:]
    for size, k, d, (low, high) in zip(sizes, kernel, dilation, margins, strict=True):
        if size + low + high < d * (k - 1) + 1:
            raise ValueError(
                f"{name}: a kernel of {k} elements, {d} apart, is larger than the padded input "
                f"({size} + {low} + {high}); use a smaller kernel or more padding"
            )

    def in_groups(images: Array, weight: Array, groups: int) -> Array:
        return lax.conv_general_dilated(
            images,
            weight,
            window_strides=stride,
            padding=margins,
            rhs_dilation=dilation,
            dimension_numbers=(layout, f"OI{'DHW'[3 - axes :]}", layout),
            feature_group_count=groups,
        )

    channels = -1 if channels_last else 1
    general = shared_out(in_groups, images, weight, groups, channels)
    if is_depthwise(weight, groups):

        def on_cpu(images: Array, weight: Array) -> Array:
            settings = (stride, margins, dilation, channels_last, devices_of(images) == 1)
            return let_xla_place(lambda x, w: depthwise(x, w, *settings), images, weight, kept=1)

        output = lax.platform_dependent(images, weight, cpu=on_cpu, default=general)
    elif is_quicker_on_cpu(images, weight, stride, groups, channels_last):
        own = ImageFilter(stride, margins, dilation)
        by_cpu = partial(convolve_on_cpu, settings=own, channels_last=channels_last)
        by_cpu = partial(let_xla_place, by_cpu, kept=1)
        output = lax.platform_dependent(images, weight, cpu=by_cpu, default=general)
    else:
        output = general(images, weight)
    return add_bias_and_batch_axes(output, bias, input, channels_last, dtype)


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
        stride: step between windows.
        padding: zeros added on both sides, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, L_out)`` with ``L_out = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1``.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv1d(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3)))
        Array([[[3., 3.]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv1d.html
    """
    settings = resolve_settings(1, stride, padding, dilation, groups, channels_last)
    return convolve(input, weight, bias, settings)


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

    ``output[n, o, y, x] = bias[o] + sum_{i, s, t} weight[o, i, s, t] * input[n, i, y', x']``,
    ``y' = stride * y + dilation * s - padding``,
    ``x' = stride * x + dilation * t - padding``.

    Args:
        input: ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``.
        weight: ``(C_out, C_in / groups, K_h, K_w)`` in either layout.
        bias: ``(C_out,)`` or ``None``.
        stride: step between windows, one number or one an axis.
        padding: zeros added on both sides of each axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, H_out, W_out)``, sizes as in `conv1d`.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv2d(jnp.ones((1, 3, 8, 8)), jnp.ones((6, 3, 3, 3)), padding="same").shape
        (1, 6, 8, 8)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html
    """
    settings = resolve_settings(2, stride, padding, dilation, groups, channels_last)
    return convolve(input, weight, bias, settings)


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
        stride: step between windows, one number or one an axis.
        padding: zeros added on both sides of each axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        channels_last: channels are the last axis of input and output.

    Returns:
        ``(..., C_out, D_out, H_out, W_out)``, sizes as in `conv1d`.

    Raises:
        ValueError: shapes do not fit each other, or the kernel exceeds the padded input.
        TypeError: the input holds booleans, or integers beside floats.

    Example:
        >>> F.conv3d(jnp.ones((1, 3, 4, 8, 8)), jnp.ones((6, 3, 3, 3, 3)), stride=(1, 2, 2)).shape
        (1, 6, 2, 3, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv3d.html
    """
    settings = resolve_settings(3, stride, padding, dilation, groups, channels_last)
    return convolve(input, weight, bias, settings)
