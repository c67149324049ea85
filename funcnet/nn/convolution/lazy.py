"""Convolutions that learn their number of input channels from the first example."""

import math
from typing import Any

from funcnet.core.aliases import Array
from funcnet.core.checks import check_divisible
from funcnet.module import Parameter
from funcnet.nn import init
from funcnet.nn.convolution.base import FilterLayer
from funcnet.nn.convolution.plain import Conv1d, Conv2d, Conv3d, ConvolutionBase
from funcnet.nn.convolution.transposed import (
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    ConvTransposeBase,
)

__all__ = [
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]


def _channels(layer: FilterLayer, input: Array) -> int:
    """Read the channels off an example; they must fit the layer's groups."""
    if input.ndim <= layer.axes:
        raise ValueError(
            f"{type(layer).__name__}: input must have channels and {layer.axes} spatial axes; got {input.shape}"
        )
    channels = input.shape[-1 if layer.channels_last else -layer.axes - 1]
    check_divisible("in_channels", channels, "groups", layer.groups)
    return channels


class LazyConvolutionBase(ConvolutionBase):
    """What the lazy convolutions share."""

    def __init__(self, out_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(None, out_channels, *args, **kwargs)

    def infer_shapes(self, input: Array) -> dict[str, Any]:
        """Give the weight's shape for an input, and the bias with the range that follows from it."""
        filters = (_channels(self, input) // self.groups, *self.kernel_size)
        bias = Parameter((self.out_channels,), init.uniform_fan_in(math.prod(filters)))
        return {"weight": (self.out_channels, *filters), "bias": bias}


class LazyConvTransposeBase(ConvTransposeBase):
    """What the lazy transposed convolutions share."""

    def __init__(self, out_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(None, out_channels, *args, **kwargs)

    def infer_shapes(self, input: Array, output_size: Any = None) -> dict[str, tuple[int, ...]]:
        """Give the parameters' shapes for an input."""
        channels = _channels(self, input)
        return {"weight": (channels, self.out_channels // self.groups, *self.kernel_size)}


class LazyConv1d(LazyConvolutionBase, Conv1d):
    """`Conv1d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `Conv1d`.
        *args: as of `Conv1d`.
        **kwargs: as of `Conv1d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConv1d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 10)))
        >>> params["weight"].shape
        (8, 3, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConv1d.html
    """


class LazyConv2d(LazyConvolutionBase, Conv2d):
    """`Conv2d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `Conv2d`.
        *args: as of `Conv2d`.
        **kwargs: as of `Conv2d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConv2d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 10, 10)))
        >>> params["weight"].shape
        (8, 3, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConv2d.html
    """


class LazyConv3d(LazyConvolutionBase, Conv3d):
    """`Conv3d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `Conv3d`.
        *args: as of `Conv3d`.
        **kwargs: as of `Conv3d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConv3d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((1, 3, 5, 6, 6)))
        >>> params["weight"].shape
        (8, 3, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConv3d.html
    """


class LazyConvTranspose1d(LazyConvTransposeBase, ConvTranspose1d):
    """`ConvTranspose1d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `ConvTranspose1d`.
        *args: as of `ConvTranspose1d`.
        **kwargs: as of `ConvTranspose1d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConvTranspose1d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 10)))
        >>> params["weight"].shape
        (3, 8, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConvTranspose1d.html
    """


class LazyConvTranspose2d(LazyConvTransposeBase, ConvTranspose2d):
    """`ConvTranspose2d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `ConvTranspose2d`.
        *args: as of `ConvTranspose2d`.
        **kwargs: as of `ConvTranspose2d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConvTranspose2d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 10, 10)))
        >>> params["weight"].shape
        (3, 8, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConvTranspose2d.html
    """


class LazyConvTranspose3d(LazyConvTransposeBase, ConvTranspose3d):
    """`ConvTranspose3d` whose ``in_channels`` are learned from the first example input.

    Args:
        out_channels: ``C_out``; all further arguments are those of `ConvTranspose3d`.
        *args: as of `ConvTranspose3d`.
        **kwargs: as of `ConvTranspose3d`.

    Example:
        >>> net = fn.functionalize(nn.LazyConvTranspose3d(8, 2))
        >>> params, state = net.init(jax.random.key(0), jnp.ones((1, 3, 5, 6, 6)))
        >>> params["weight"].shape
        (3, 8, 2, 2, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyConvTranspose3d.html
    """
