"""Layers of convolution in one to three dimensions: one definition, a class for each dimension."""

from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_choice
from funcnet.functional.convolution.plain import convolve
from funcnet.functional.convolution.settings import (
    ConvolutionSettings,
    padding_pairs,
    resolve_settings,
)
from funcnet.functional.images.padding import extend
from funcnet.functional.windows import spatial_axes
from funcnet.nn.convolution.base import FilterLayer

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


class ConvolutionBase(FilterLayer):
    """What the convolutions of one, two and three dimensions share.

    Attributes:
        weight: ``(out_channels, in_channels / groups, *kernel_size)``, from ``U(-k, k)``, where ``1 / k²`` is how many
            inputs meet in one output: ``in_channels / groups`` times the size of the kernel.
        bias: ``(out_channels,)``, likewise; or ``None``.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        channels_last: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        check_choice("padding_mode", padding_mode, ("zeros", "reflect", "replicate", "circular"))
        settings = resolve_settings(self.axes, stride, padding, dilation, groups, channels_last)
        self._declare(in_channels, out_channels, kernel_size, settings, padding_mode, bias, dtype)

    def __call__(self, input: Array) -> Array:
        """Convolve the input."""
        input, settings = self.padded(input)
        return convolve(input, self.weight, self.bias, settings)

    def padded(self, input: Array) -> tuple[Array, ConvolutionSettings]:
        """Return the input with margins that are not zeros, and the settings that are left."""
        settings = self._settings()
        # an input with too few axes is left to `convolve`, whose error says what is missing
        if self.padding_mode != "zeros" and input.ndim > self.axes:
            where = spatial_axes(input.ndim, self.axes, self.channels_last)
            amounts = padding_pairs(self.padding, self.kernel_size, self.dilation)
            input = extend(input, where, amounts, self.padding_mode)
            settings = settings._replace(padding="valid")
        return input, settings


class Conv1d(ConvolutionBase):
    """Convolve sequences of channels (cross-correlation), as `funcnet.functional.conv1d` does.

    ``output[n, o, x] = bias[o] + sum_{i, t} weight[o, i, t] * input[n, i, stride * x + dilation * t - padding]``

    * input ``(..., C_in, L)``, any number of batch axes; ``(..., L, C_in)`` if ``channels_last``
    * output ``(..., C_out, L_out)``, ``L_out = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1``
    * ``weight`` ``(C_out, C_in / groups, K)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_in / groups * K)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: ``K``.
        stride: step between windows.
        padding: elements added on both sides, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.Conv1d(3, 8, 5, padding="same"))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 20)))[0].shape
        (2, 8, 20)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv1d.html
    """

    axes = 1


class Conv2d(ConvolutionBase):
    """Convolve images (cross-correlation): `Conv1d` over two spatial axes.

    ``output[n, o, y, x] = bias[o] + sum_{i, s, t} weight[o, i, s, t] * input[n, i, y', x']``,
    ``y' = stride * y + dilation * s - padding``,
    ``x' = stride * x + dilation * t - padding``.

    * input ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``
    * output ``(..., C_out, H_out, W_out)``,
      ``H_out = floor((H + 2 padding - dilation (K_h - 1) - 1) / stride) + 1``, and ``W_out`` likewise
    * ``weight`` ``(C_out, C_in / groups, K_h, K_w)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_in / groups * K_h * K_w)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: one number, or one an axis; so are the next three.
        stride: step between windows.
        padding: elements added on both sides of an axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.Conv2d(3, 8, 3, stride=2, padding=1))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 32, 32)))[0].shape
        (2, 8, 16, 16)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
    """

    axes = 2


class Conv3d(ConvolutionBase):
    """Convolve volumes (cross-correlation): `Conv1d` over three spatial axes.

    * input ``(..., C_in, D, H, W)``, any number of batch axes; channels at the end if ``channels_last``
    * output ``(..., C_out, D_out, H_out, W_out)``, sizes as in `Conv1d`
    * ``weight`` ``(C_out, C_in / groups, K_d, K_h, K_w)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_in / groups * K_d * K_h * K_w)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: one number, or one an axis; so are the next three.
        stride: step between windows.
        padding: elements added on both sides of an axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: distance between the elements of a filter.
        groups: number of blocks of channels that do not mix.
        bias: whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: channels are the last axis of input and output; weights stay as they are.
        dtype: of the parameters.

    Raises:
        ValueError: ``groups`` does not divide both channels, or a setting is out of range.

    Example:
        >>> net = fn.functionalize(nn.Conv3d(2, 4, (1, 3, 3)))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((1, 2, 5, 8, 8)))[0].shape
        (1, 4, 5, 6, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv3d.html
    """

    axes = 3
