"""Layers that rearrange channels and pixels."""

from funcnet.core.aliases import Array
from funcnet.core.checks import check_positive
from funcnet.functional.images.shuffling import channel_shuffle, pixel_shuffle, pixel_unshuffle
from funcnet.module import Module

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(Module):
    """Rearrange blocks of ``r * r`` channels into ``r`` times as many rows and columns.

    ``output[c, r h + i, r w + j] = input[c r r + r i + j, h, w]``

    Input ``(..., C r r, H, W)``, output ``(..., C, r H, r W)``: upsampling by a convolution before it.

    Args:
        upscale_factor: ``r``.

    Example:
        >>> nn.PixelShuffle(3)(jnp.ones((1, 9, 4, 4))).shape
        (1, 1, 12, 12)

    Reference: Shi et al., "Real-Time Single Image and Video Super-Resolution", https://arxiv.org/abs/1609.05158
    """

    def __init__(self, upscale_factor: int) -> None:
        check_positive("upscale_factor", upscale_factor)
        self.upscale_factor = upscale_factor

    def __call__(self, input: Array) -> Array:
        """Rearrange channels into pixels."""
        return pixel_shuffle(input, self.upscale_factor)


class PixelUnshuffle(Module):
    """Rearrange blocks of ``r`` rows and columns into channels: the inverse of `PixelShuffle`.

    ``output[c r r + r i + j, h, w] = input[c, r h + i, r w + j]``

    Input ``(..., C, r H, r W)``, output ``(..., C r r, H, W)``.

    Args:
        downscale_factor: ``r``.

    Example:
        >>> nn.PixelUnshuffle(3)(jnp.ones((1, 1, 12, 12))).shape
        (1, 9, 4, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PixelUnshuffle.html
    """

    def __init__(self, downscale_factor: int) -> None:
        check_positive("downscale_factor", downscale_factor)
        self.downscale_factor = downscale_factor

    def __call__(self, input: Array) -> Array:
        """Rearrange pixels into channels."""
        return pixel_unshuffle(input, self.downscale_factor)


class ChannelShuffle(Module):
    """Interleave the channels of groups, so that a grouped convolution after it sees all of them.

    ``output[n, c G + g] = input[n, g C / G + c]`` for ``G`` groups of ``C`` channels in all.

    Input and output ``(N, C, *)``.

    Args:
        groups: number of groups, each of ``C / groups`` channels.

    Example:
        >>> nn.ChannelShuffle(2)(jnp.arange(4.0).reshape(1, 4, 1))[0, :, 0]
        Array([0., 2., 1., 3.], dtype=float32)

    Reference: Zhang et al., "ShuffleNet", https://arxiv.org/abs/1707.01083
    """

    def __init__(self, groups: int) -> None:
        check_positive("groups", groups)
        self.groups = groups

    def __call__(self, input: Array) -> Array:
        """Interleave the channels."""
        return channel_shuffle(input, self.groups)
