"""Layers of convolution in one to three dimensions: one definition, a class for each dimension."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_choice, check_divisible, check_non_negative, check_positive
from funcnet.functional.convolution.plain import conv1d, conv2d, conv3d, same_padding
from funcnet.functional.images.padding import extend
from funcnet.functional.windows import integers, spatial_axes
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["Conv1d", "Conv2d", "Conv3d"]

_CONVOLVE = (conv1d, conv2d, conv3d)


class ConvolutionBase(Module):
    """What the convolutions of one, two and three dimensions share."""

    axes: ClassVar[int]

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
        axes = self.axes
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = integers("kernel_size", kernel_size, axes)
        self.stride = integers("stride", stride, axes)
        self.padding = padding if isinstance(padding, str) else integers("padding", padding, axes)
        self.dilation = integers("dilation", dilation, axes)
        self.groups = groups
        self.padding_mode = padding_mode
        self.channels_last = channels_last
        self._check()
        channels = None if in_channels is None else in_channels // groups
        shape = (out_channels, channels, *self.kernel_size)
        self.weight = Parameter(shape, init.kaiming_uniform(a=math.sqrt(5)), dtype)
        bias_init = init.uniform_fan_in((channels or 0) * math.prod(self.kernel_size))
        self.bias = Parameter((out_channels,), bias_init, dtype) if bias else None

    def _check(self) -> None:
        check_positive("groups", self.groups)
        check_divisible("in_channels", self.in_channels or 0, "groups", self.groups)
        check_divisible("out_channels", self.out_channels, "groups", self.groups)
        for name in ("kernel_size", "stride", "dilation"):
            check_positive(name, getattr(self, name))
        check_choice(
            "padding_mode", self.padding_mode, ("zeros", "reflect", "replicate", "circular")
        )
        if not isinstance(self.padding, str):
            check_non_negative("padding", self.padding)
            return
        check_choice("padding", self.padding, ("same", "valid"))
        if self.padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError(f"padding='same' needs stride 1; got stride {self.stride}")

    def _margins(self) -> list[tuple[int, int]]:
        if self.padding == "same":
            return same_padding(self.kernel_size, self.dilation)
        amounts = [0] * self.axes if isinstance(self.padding, str) else self.padding
        return [(amount, amount) for amount in amounts]

    def __call__(self, input: Array) -> Array:
        """Convolve the input."""
        padding: Any = self.padding
        if self.padding_mode != "zeros" and input.ndim > self.axes:
            where = spatial_axes(input.ndim, self.axes, self.channels_last)
            input, padding = extend(input, where, self._margins(), self.padding_mode), 0
        return _CONVOLVE[self.axes - 1](
            input,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            channels_last=self.channels_last,
        )


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
        stride: Step between windows.
        padding: Elements added on both sides, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        bias: Whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: Channels are the last axis of input and output; weights stay as they are.
        dtype: Of the parameters.

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

    * input ``(..., C_in, H, W)``, any number of batch axes; ``(..., H, W, C_in)`` if ``channels_last``
    * output ``(..., C_out, H_out, W_out)``, sizes as in `Conv1d`
    * ``weight`` ``(C_out, C_in / groups, K_h, K_w)``, ``bias`` ``(C_out,)``, both drawn from
      ``U(-k, k)`` with ``k = 1 / sqrt(C_in / groups * K_h * K_w)``

    Args:
        in_channels: ``C_in``.
        out_channels: ``C_out``.
        kernel_size: One number, or one an axis; so are the next three.
        stride: Step between windows.
        padding: Elements added on both sides of an axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        bias: Whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: Channels are the last axis of input and output; weights stay as they are.
        dtype: Of the parameters.

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
        kernel_size: One number, or one an axis; so are the next three.
        stride: Step between windows.
        padding: Elements added on both sides of an axis, ``"same"`` (stride 1 only) or ``"valid"``.
        dilation: Distance between taps.
        groups: Number of blocks of channels that do not mix.
        bias: Whether to add a learned number to each channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_last: Channels are the last axis of input and output; weights stay as they are.
        dtype: Of the parameters.

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
