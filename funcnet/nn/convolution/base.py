"""What plain and transposed convolutions share as layers: settings, checked once, and parameters."""

import math
from typing import Any, ClassVar

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_divisible, check_positive
from funcnet.functional.convolution.settings import ConvolutionSettings
from funcnet.functional.windows import integers_per_axis
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["FilterLayer"]


class FilterLayer(Module):
    """A layer that moves filters over one, two or three spatial axes."""

    axes: ClassVar[int]

    weight: Array
    bias: Array | None
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any  # a number for each axis, or "same" or "valid"
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...] = ()  # of transposed convolution alone
    groups: int
    padding_mode: str
    channels_last: bool

    def _declare(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Any,
        settings: ConvolutionSettings,
        padding_mode: str,
        bias: bool,
        dtype: DType,
        *,
        transposed: bool = False,
    ) -> None:
        groups = settings.groups
        check_divisible("in_channels", in_channels or 0, "groups", groups)
        check_divisible("out_channels", out_channels, "groups", groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = integers_per_axis("kernel_size", kernel_size, self.axes)
        check_positive("kernel_size", self.kernel_size)
        self.stride = settings.stride
        self.padding = settings.padding
        if transposed:
            self.output_padding = settings.output_padding
        self.dilation = settings.dilation
        self.groups = groups
        self.padding_mode = padding_mode
        self.channels_last = settings.channels_last
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        per_group = None if second is None else second // groups
        start = init.kaiming_uniform(a=math.sqrt(5))
        self.weight = Parameter((first, per_group, *self.kernel_size), start, dtype)
        fan_in = (per_group or 0) * math.prod(self.kernel_size)
        bias_start = init.uniform_fan_in(fan_in)
        self.bias = Parameter((out_channels,), bias_start, dtype) if bias else None

    def _settings(self) -> ConvolutionSettings:
        """Gather the settings, which were checked when the layer was constructed."""
        return ConvolutionSettings(
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.channels_last,
            self.output_padding,
        )
